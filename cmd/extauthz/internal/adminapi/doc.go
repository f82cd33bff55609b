// Package adminapi is the management API: /v1 in JSON, with an OpenAPI 3.1
// document made from this code, over the keys service.
//
// Whoever calls shows an API key as bearer token; what it may do and hand on is
// the keys service's to judge. A key's text leaves by two answers only, creation
// and rotation, once each. The package stores nothing.
package adminapi
