// Package api tests the management API against its document with independent tools:
// Redocly and Spectral read the document, Schemathesis calls a real service with data
// generated from it, valid and invalid, and oapi-codegen generates a client, which is
// then used.
//
// `scripts/install-parts.sh api` installs them.
package api
