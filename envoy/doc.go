// Package envoy is the ext_authz adapter: it converts a CheckRequest into the form that
// package authz decides about, and a decision into a CheckResponse, by the contract of
// envoy.service.auth.v3 as Envoy really implements it.
//
// The same decisions go to Envoy's HTTP flavour and, by forward-auth, to nginx, Caddy and
// Traefik ([NewHTTPServer]): one endpoint for each, since each describes the request in
// its own way.
//
// It decides nothing. A denial is a nil error with a non-zero status, since a gRPC error
// is Envoy's error path, where failure_mode_allow lets requests in; only a check that
// could not be decided is an error. Every string in a response is valid UTF-8 and a valid
// header value: an invalid one would fail marshalling, and so become an error too.
package envoy
