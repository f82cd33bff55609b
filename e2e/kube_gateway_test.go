//go:build kube

package e2e

import (
	"testing"

	"extauthz/e2e/parts"
)

func testEnvoyGateway(t *testing.T, k *parts.Kubernetes) {
	s := newPlatform(t, k, example(t, "envoy-gateway/extauthz.yaml"))
	k.Apply(example(t, "envoy-gateway/policy.yaml"))
	k.Apply(example(t, "envoy-gateway/routes.yaml"))
	parts.StartEnvoyGateway(t, k, "1.40.0")
	s.gateway = podAddress + ":80"
	s.decides(t, "/healthz")

	key := func(scopes ...string) string {
		var flags []string
		for _, scope := range scopes {
			flags = append(flags, "--scope", scope)
		}
		return "x-api-key: " + s.NewKey(flags...).Key
	}
	reader := key("orders:read")
	// Annotations: what the route needs, with an action of its own.
	s.allowed(s.ask("POST", "/search", reader, "content-length: 0"))
	s.denied(s.ask("GET", "/search", key("orders:create")), 403, "scope_missing")
	// Context extensions, of a policy of one route.
	s.allowed(s.ask("GET", "/reports/1", key("reports:create")))
	s.denied(s.ask("GET", "/reports/1", key("reports:read")), 403, "scope_missing")
	s.denied(s.ask("GET", "/reports/1"), 401, "missing_key")
	// A rule of ours comes before them.
	s.denied(s.ask("DELETE", "/orders/1", key("orders:delete")), 403, "scope_missing")
	s.allowed(s.ask("DELETE", "/orders/1", key("archive:delete")))
	// Preflights are not answered by a gateway without CORS.
	s.denied(s.ask("OPTIONS", "/orders", "origin: https://app.example.com", "access-control-request-method: GET"), 401, "missing_key")
	if a := s.ask("GET", "/nowhere", reader); a.status != 404 || a.reached {
		t.Errorf("where no route is: %d, upstream reached: %v", a.status, a.reached)
	}
	s.denied(s.ask("GET", "/orders", reader, reader), 401, "ambiguous_credential")

	s.shutWithout(s.NewKey("--scope", "orders:read").Key)
}
