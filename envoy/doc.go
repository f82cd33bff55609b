// Package envoy is the ext_authz adapter: it brings a CheckRequest into the form
// that package authz decides about, and a decision into a CheckResponse, by the
// contract of envoy.service.auth.v3 as Envoy really keeps it.
//
// The same decisions go to Envoy's HTTP flavour and, by forward-auth, to nginx,
// Caddy and Traefik ([NewHTTPServer]): an endpoint for each, since each says in
// another way what is asked for.
//
// It decides nothing. A denial is a nil error with a non-zero status, since a
// gRPC error is Envoy's error path, where failure_mode_allow lets requests in;
// only what could not be decided is an error. Every string in a response is
// valid UTF-8 and a valid header value: one that is not would fail marshalling,
// and so become an error too.
package envoy
