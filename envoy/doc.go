// Package envoy is the ext_authz adapter: it converts a CheckRequest into the form that
// package authz decides about, and a decision into a CheckResponse, by the contract of
// envoy.service.auth.v3 as Envoy really implements it.
//
// [NewHTTPServer] answers Envoy's HTTP flavour as well, and nginx, Caddy and Traefik by
// forward-auth. Each of them has an endpoint, since each describes the request in its own
// way.
//
// The package decides nothing. A denial is a response with a non-zero status and not a
// gRPC error: Envoy treats a gRPC error as a failure, and failure_mode_allow then lets
// the request in. Only a check that could not be decided is an error. Every string in a
// response is valid UTF-8 and a valid header value: an invalid one would fail
// marshalling, and so become an error too.
package envoy
