package e2e

import (
	"strings"
	"testing"
)

// TestOverrideHeaders_OnlyKeptOnesReachTheUpstream: with the printed filter, and without
// it by the service alone.
func TestOverrideHeaders_OnlyKeptOnesReachTheUpstream(t *testing.T) {
	const policy = `
routes: [{match: "/healthz", anonymous: true}]
default_route: map
headers: {keep_overrides: [X-Forwarded-Prefix, x-envoy-original-path, x-forwarded-path]}
`
	onEach(t, func(t *testing.T, version string) {
		for name, edits := range map[string][]string{
			"stripped":           nil,
			"removed when seen":  {"regex: '^", "regex: '^never-", "headers_with_underscores_action: REJECT_REQUEST", "headers_with_underscores_action: ALLOW"},
			"hidden from us too": {"encode_raw_headers: true", "encode_raw_headers: true\n                      allowed_headers: {patterns: [{exact: x-api-key}]}"},
		} {
			t.Run(name, func(t *testing.T) {
				s := newStack(t, version, policy, edits...)
				k := s.NewKey("--scope", "orders:create")
				for target, key := range map[string]string{"/orders": "x-api-key: " + k.Key, "/healthz": "accept: */*"} {
					for _, line := range []string{"X-HTTP-Method-Override: DELETE", "x-original-url: /admin", "X-Rewrite-Url: /admin", "x-http.method-override: DELETE",
						"script-name: /admin", "x-forwarded-host: other.example.com", "forwarded: host=other.example.com", "x-original-method: DELETE"} {
						a := s.ask("POST", target, key, line, "content-length: 0", "x-forwarded-prefix: /shop", "X-Forwarded-Path: /shop/orders", "x-envoy-original-path: /as-sent")
						_, value, _ := strings.Cut(line, ": ")
						if !a.reached || strings.Contains(a.body, value) {
							t.Errorf("%s with %s: got %d, the upstream %s", target, line, a.status, a.body)
						}
						if len(a.lines("x-forwarded-prefix")) != 1 || len(a.lines("x-forwarded-path")) != 1 {
							t.Errorf("%s: what is kept did not reach the upstream: %s", target, a.body)
						}
						if strings.Contains(a.body, "/as-sent") { // Envoy itself sets or removes it, kept or not
							t.Errorf("%s: Envoy passed on %q", target, a.lines("x-envoy-original-path"))
						}
					}
				}
			})
		}
	})
}
