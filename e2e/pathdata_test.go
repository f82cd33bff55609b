package e2e

import (
	"strings"
	"testing"
)

// encodedTargets are served byte for byte where encoded characters are data;
// hostileTargets are never served.
var (
	encodedTargets = []string{"/objects/group%2Fproject", "/objects/@scope%2fpkg", "/objects/a;v=1/b", "/objects/a%3Bb", "/objects/100%25", "/objects/c%23",
		"/objects/what%3F?x=%2F", "/objects/a%2Bb%40[0]", "/objects/https%3A%2F%2Fexample.com", "/objects/lib%2Fa", "/objects/2026-01-01T00:00:00Z"}
	needlessTargets = []string{"/objects/%7Euser", "/objects/a%2Db"}
	hostileTargets  = []string{"/objects/..%2F..%2Fadmin", "/objects/%2e%2e%2fadmin", "/objects/a%2F..%2F..%2Fadmin", "/objects/%252e%252e%252fadmin",
		"/objects/..;/admin", "/objects/a%5C..%5C..%5Cadmin", "/objects%2Fa", "/objects;x/a", "/objects/a%00", "/objects/..%23", "/healthz%2F", "/healthz;x"}
)

func servedAsSent(t *testing.T, s *stack, targets []string, key string) {
	t.Helper()
	for _, target := range targets {
		a := s.ask("GET", target, key)
		if !a.reached || !strings.HasPrefix(a.body, "GET "+target+" HTTP/1.") {
			t.Errorf("%s: got %d, upstream reached: %v, %.200s", target, a.status, a.reached, a.body)
		}
		if a := s.ask("GET", target); a.reached {
			t.Errorf("%s was served without a key", target)
		}
	}
}

func servedNowhere(t *testing.T, s *stack, key string) {
	t.Helper()
	for _, target := range hostileTargets {
		for _, a := range []answer{s.ask("GET", target, key), s.ask("GET", target)} {
			if a.reached || a.status < 400 {
				t.Errorf("%s: got %d, upstream reached: %.200s", target, a.status, a.body)
			}
		}
	}
}

func TestEncodedData_IsServedAsSentThroughEachProxy(t *testing.T) {
	onEachProxy(t, func(t *testing.T, s *stack, p proxy) {
		key := "x-api-key: " + s.NewKey("--scope", "objects:read").Key
		if !p.normalises {
			servedAsSent(t, s, append(needlessTargets, encodedTargets...), key)
		}
		servedNowhere(t, s, key)
	})
}

// encodedPolicy also has a rule for paths that no ordinary rule matches.
const encodedPolicy = `
routes:
  - {match: "/healthz", anonymous: true}
  - {match: "GET /objects/{rest...}", resource: objects, encoded: allow}
  - {match: "GET /orders/{id}", resource: "orders/{id}"}
  - {match: "POST /orders/{id}:cancel", resource: "orders/{id}", action: cancel}
  - {match: "POST /things:batchGet", resource: things, action: read}
  - {match: "GET /packages/{name}.json", resource: "packages/{name}"}
default_route: deny
paths: {max_query_bytes: 40000}
`

func TestEncodedData_IsServedAsSentThroughThePrintedEnvoy(t *testing.T) {
	onEach(t, func(t *testing.T, version string) {
		s := newStack(t, version, encodedPolicy)
		key := "x-api-key: " + s.NewKey("--scope", "*:*").Key
		servedAsSent(t, s, encodedTargets, key)
		servedNowhere(t, s, key)

		raw := newPrintedStack(t, version, encodedPolicy, []string{"--raw-paths"})
		key = "x-api-key: " + raw.NewKey("--scope", "*:*").Key
		servedAsSent(t, raw, append(needlessTargets, encodedTargets...), key)
		servedNowhere(t, raw, key)
	})
}

// TestEncodedData_OfTheDefaultPassesNoRule: any valid key may request encoded paths that
// no rule matches, but no path that a server could read as one with a rule.
func TestEncodedData_OfTheDefaultPassesNoRule(t *testing.T) {
	onEach(t, func(t *testing.T, version string) {
		s := newPrintedStack(t, version, `
routes: [{match: "/admin/", resource: admin}]
default_route: authenticated
paths: {encoded: allow}
`, []string{"--raw-paths"})
		key := "x-api-key: " + s.NewKey("--scope", "orders:read").Key
		servedAsSent(t, s, append(needlessTargets, encodedTargets...), key)
		for _, target := range []string{"/admin/x", "/admin%2Fx", "/admin;v=1/x", "/%61dmin/x", "/admin%252Fx", "/admin%5Cx", "/x%2F..%2Fadmin/y", "/%2Fadmin/x", "/admin%3Bv/x"} {
			if a := s.ask("GET", target, key); a.reached || a.status < 400 {
				t.Errorf("%s: got %d, upstream reached: %v", target, a.status, a.reached)
			}
		}
	})
}

func TestRules_EverySegmentAndCustomMethodsThroughEnvoy(t *testing.T) {
	onEach(t, func(t *testing.T, version string) {
		s := newStack(t, version, encodedPolicy)
		all := "x-api-key: " + s.NewKey("--scope", "*:*").Key
		for _, id := range []string{"2026-01-01T00:00:00Z", "sha256:ab12", "my%20order", "2001:db8::1", strings.Repeat("x", 300), "a,b", "*", "caf%C3%A9"} {
			s.allowed(s.ask("GET", "/orders/"+id, all))
		}
		one := "x-api-key: " + s.NewKey("--scope", "orders/sha256%3Aab12:read").Key
		s.allowed(s.ask("GET", "/orders/sha256:ab12", one))
		s.denied(s.ask("GET", "/orders/sha256:ab13", one), 403, "scope_missing")

		empty := "content-length: 0"
		cancel := "x-api-key: " + s.NewKey("--scope", "orders:cancel", "--scope", "things:read", "--scope", "packages/left-pad:read").Key
		s.allowed(s.ask("POST", "/orders/42:cancel", cancel, empty))
		s.denied(s.ask("GET", "/orders/42:cancel", cancel), 403, "scope_missing")
		s.denied(s.ask("POST", "/orders/42%3Acancel", cancel, empty), 400, "path_refused")
		s.denied(s.ask("POST", "/orders/42", cancel, empty), 403, "route_denied")
		s.allowed(s.ask("POST", "/things:batchGet", cancel, empty))
		s.allowed(s.ask("GET", "/packages/left-pad.json", cancel))
		s.denied(s.ask("GET", "/packages/right-pad.json", cancel), 403, "scope_missing")

		a := s.ask("GET", "/orders/a;b", all)
		s.denied(a, 400, "path_refused")
		if !strings.Contains(a.body, "parameter") || !strings.Contains(a.body, "encoded: allow") {
			t.Errorf("the refusal does not name the part and the setting: %s", a.body)
		}
		s.allowed(s.ask("GET", "/orders/1?q="+strings.Repeat("x", 39_000), all))
		if a := s.ask("GET", "/orders/1?q="+strings.Repeat("x", 40_000), all); a.status != 400 || !strings.Contains(a.body, "paths.max_query_bytes") {
			t.Errorf("a long query: %d %.300s", a.status, a.body)
		}
	})
}
