// Package adminapi is the management API over the keys service: JSON under /v1, and an
// OpenAPI 3.1 document made from this code.
//
// The caller sends an API key as bearer token. The keys service decides what that key may
// do and grant. Only the answers to a creation and a rotation contain the text of a key,
// once each. The package stores nothing.
//
// A request passes these steps: call.go (request id, log line, panics), route.go (the
// caller's key, paths, methods, types), strict.go (parameters and bodies are as
// described), huma, and the operation. The document and the behaviour come from the same
// tables: codes.go, limits.go, and the arguments with which operations are registered.
// Paths outside /v1, /docs and /openapi* are not served.
package adminapi
