// Package adminapi is the management API: /v1 in JSON, with an OpenAPI 3.1
// document made from this code, over the keys service.
//
// The caller sends an API key as bearer token; the keys service decides what it may
// do and grant. A key's text leaves by two answers only, creation
// and rotation, once each. The package stores nothing.
//
// A request passes call.go (its id, its log line, panics), route.go (the caller's key,
// paths, methods, types), strict.go (parameters and bodies as described), huma, and the
// operation. Document and behaviour are made of the same tables: codes.go, limits.go and
// what the operations are registered with. Paths outside of /v1, /docs and /openapi* are not
// served.
package adminapi
