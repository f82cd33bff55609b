package e2e

import (
	"strings"
	"testing"
	"time"
)

// shadowed checks that shadow mode allowed a request: it reached the upstream, and
// metrics and log have the reason for which it would have been refused.
func (s *stack) shadowed(a answer, reason string) {
	s.t.Helper()
	s.allowed(a)
	if counter(s.t, s.Service, "extauthz_decisions_total", `decision="shadow"`, `reason="`+reason+`"`) == 0 {
		s.t.Errorf("no metric counts %s", reason)
	}
	if !strings.Contains(s.Log(), `"msg":"allowed in shadow mode","reason":"`+reason+`"`) {
		s.t.Errorf("no line of the log has %s", reason)
	}
}

// TestShadow_AllowsAndReports: shadow mode of a route, of a key and of everything,
// through a real Envoy.
func TestShadow_AllowsAndReports(t *testing.T) {
	onEach(t, func(t *testing.T, version string) {
		until := time.Now().Add(24 * time.Hour).Format(time.RFC3339)
		s := newStack(t, version, `
default_route: deny
routes:
  - {match: "/reports/", resource: reports, mode: shadow, until: `+until+`}
  - {match: "/orders/", resource: orders}`)
		k := s.NewKey("--scope", "orders:read")
		key := "x-api-key: " + k.Key

		a := s.ask("GET", "/reports/1", key)
		s.shadowed(a, "scope_missing")
		if !strings.Contains(a.body, "x-auth-key-id: "+k.ID) || strings.Contains(a.body, k.Key) {
			t.Errorf("identity of a softened request: %s", a.body)
		}
		a = s.ask("GET", "/reports/1", "x-auth-user-id: root")
		s.shadowed(a, "missing_key")
		if strings.Contains(a.body, "x-auth-") {
			t.Errorf("a request without a key has an identity: %s", a.body)
		}
		s.denied(s.ask("GET", "/reports/1", "x-api-key: "+forged(t, "ak_live_00000000_")), 401, "invalid_key")
		s.denied(s.ask("GET", "/orders/1"), 401, "missing_key")

		s.denied(s.ask("POST", "/orders/1", key), 403, "scope_missing")
		s.Must("keys", "update", k.ID, "--shadow-until", "1h")
		s.shadowed(s.ask("POST", "/orders/1", key), "scope_missing")
		s.shadowed(s.ask("GET", "/nowhere", key), "route_denied")
		if audit := s.Must("audit", "--key", k.ID); !strings.Contains(audit, "shadow_until") {
			t.Errorf("the audit lacks it: %s", audit)
		}
		s.Must("keys", "update", k.ID, "--shadow-until", "never")
		s.denied(s.ask("POST", "/orders/1", key), 403, "scope_missing")
		if _, errOut, err := s.CLI("keys", "update", k.ID, "--shadow-until", "2400h"); err == nil || !strings.Contains(errOut, "at most 90 days") {
			t.Errorf("a shadow mode of 100 days: %s", errOut)
		}
		s.Must("keys", "revoke", k.ID)
		s.denied(s.ask("GET", "/reports/1", key), 401, "key_revoked")
	})
}

// TestRouteMetadata_OfEnvoyGateway: in the form in which Envoy Gateway sends it.
func TestRouteMetadata_OfEnvoyGateway(t *testing.T) {
	onEach(t, func(t *testing.T, version string) {
		const last = `                        - match: {prefix: "/"}`
		route := func(path, namespace, name, annotations string) string {
			return `                        - match: {prefix: "` + path + `"}
                          route: {cluster: upstream}
                          metadata: {filter_metadata: {envoy-gateway: {resources: [{kind: HTTPRoute, namespace: ` + namespace + `, name: ` + name + annotations + `}]}}}
`
		}
		s := newStack(t, version, `
default_route: map
route_metadata:
  enabled: true
  allow_anonymous: true
  namespaces: [shop]
  routes: [{route: HTTPRoute/other/named, resource: invoices, action: print}]
routes: [{match: "/shop/strict", resource: strict, action: read}]`,
			last, route("/shop/open", "shop", "open", `, annotations: {extauthz.anonymous: "true"}`)+
				route("/shop", "shop", "r", `, annotations: {extauthz.resource: invoices, extauthz.action: print}`)+
				route("/evil", "other", "evil", `, annotations: {extauthz.anonymous: "true", extauthz.resource: invoices, extauthz.action: print}`)+
				route("/named", "other", "named", "")+last,
			"transport_api_version: V3", "transport_api_version: V3\n                      route_metadata_context_namespaces: [envoy-gateway]")
		key := "x-api-key: " + s.NewKey("--scope", "invoices:print").Key
		s.allowed(s.ask("GET", "/shop/x", key))
		s.denied(s.ask("GET", "/shop/x"), 401, "missing_key")
		s.allowed(s.ask("GET", "/shop/open"))
		s.denied(s.ask("GET", "/shop/strict", key), 403, "scope_missing") // a rule takes precedence
		s.denied(s.ask("GET", "/evil"), 401, "missing_key")
		s.denied(s.ask("GET", "/evil", key), 403, "scope_missing") // other namespaces do not count
		s.allowed(s.ask("GET", "/named", key))
	})
}

// TestCORS_PreflightsPassOnlyWhereConfigured: and no request that merely looks like a
// preflight passes.
func TestCORS_PreflightsPassOnlyWhereConfigured(t *testing.T) {
	onEach(t, func(t *testing.T, version string) {
		preflight := []string{"origin: https://example.com", "access-control-request-method: GET"}
		closed := newStack(t, version, ``)
		closed.denied(closed.ask("OPTIONS", "/orders", preflight...), 401, "missing_key")
		s := newStack(t, version, `cors: {allow_preflights: true}`)
		a := s.ask("OPTIONS", "/orders", append(preflight, "x-auth-user-id: root")...)
		s.allowed(a)
		if strings.Contains(a.body, "x-auth-") {
			t.Errorf("got %s", a.body)
		}
		s.denied(s.ask("OPTIONS", "/orders", preflight[0]), 401, "missing_key")
		s.denied(s.ask("OPTIONS", "/orders", preflight[1]), 401, "missing_key")
		s.denied(s.ask("GET", "/orders", preflight...), 401, "missing_key")
	})
}
