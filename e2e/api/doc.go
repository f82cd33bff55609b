// Package api holds the management API to its document by independent tools: Redocly
// and Spectral read the document, Schemathesis calls a real service with data made of
// it, good and bad, and oapi-codegen makes a client of it that then works.
//
// `scripts/install-parts.sh api` installs them.
package api
