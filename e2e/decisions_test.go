package e2e

import (
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestDecisions_ThroughEnvoy(t *testing.T) {
	onEach(t, func(t *testing.T, version string) {
		s := newStack(t, version, `{default_route: map, routes: [{match: "/healthz", anonymous: true}, {match: "OPTIONS /open/", anonymous: true}]}`)
		k := s.NewKey("--scope", "orders:read", "--scope", "public:read")
		key := "x-api-key: " + k.Key

		t.Run("1 a valid key reaches the upstream with its identity", func(t *testing.T) {
			s := s.on(t)
			a := s.ask("GET", "/orders/42?a=b", key)
			s.allowed(a)
			for _, line := range []string{"GET /orders/42?a=b HTTP/1.1\r\n", "x-auth-user-id: alice\r\n", "x-auth-key-id: " + k.ID + "\r\n",
				"x-auth-key-prefix: " + k.Prefix + "\r\n", "x-auth-key-name: laptop\r\n", "x-auth-scopes: orders:read public:read\r\n", "x-auth-environment: live\r\n"} {
				if !strings.Contains(a.body, line) {
					t.Errorf("%q did not arrive: %s", line, a.body)
				}
			}
			s.allowed(s.ask("GET", "/orders", "authorization: Bearer "+k.Key))
		})
		t.Run("2 no key is 401 with a challenge", func(t *testing.T) {
			s := s.on(t)
			a := s.ask("GET", "/orders")
			s.denied(a, 401, "missing_key")
			if a.header.Get("www-authenticate") == "" || a.header.Get("content-type") != "application/problem+json" {
				t.Errorf("got %v", a.header)
			}
		})
		t.Run("3 an unknown key answers like a wrong secret", func(t *testing.T) {
			s := s.on(t)
			// The key is well-formed, has a valid checksum, and is not stored.
			unknown := s.ask("GET", "/orders", "x-api-key: "+forged(t, "ak_live_00000000_"))
			wrong := s.ask("GET", "/orders", "x-api-key: "+forged(t, k.Prefix+"_"))
			s.denied(unknown, 401, "invalid_key")
			s.denied(wrong, 401, "invalid_key")
			for _, a := range []answer{unknown, wrong} {
				a.header.Del("date")
				a.header.Del("x-envoy-upstream-service-time")
			}
			if unknown.body != wrong.body || len(unknown.header) != len(wrong.header) {
				t.Errorf("they differ: %v %s, %v %s", unknown.header, unknown.body, wrong.header, wrong.body)
			}
		})
		t.Run("4 the request after a revocation is refused", func(t *testing.T) {
			s := s.on(t)
			gone := s.NewKey("--scope", "orders:read")
			for range 3 {
				s.allowed(s.ask("GET", "/orders", "x-api-key: "+gone.Key))
			}
			s.Must("keys", "revoke", gone.Prefix)
			s.denied(s.ask("GET", "/orders", "x-api-key: "+gone.Key), 401, "key_revoked")
		})
		t.Run("5 a key ends at its instant", func(t *testing.T) {
			s := s.on(t)
			end := time.Now().Add(4 * time.Second).Truncate(time.Second)
			k := s.NewKey("--scope", "orders:read", "--expires", end.Format(time.RFC3339))
			// The database's clock decides; the service knows it with an error of at most
			// half a round trip.
			const exact = 20 * time.Millisecond
			before := 0
			for time.Now().Before(end.Add(300 * time.Millisecond)) {
				sent := time.Now()
				a := s.ask("GET", "/orders", "x-api-key: "+k.Key)
				switch {
				case a.status == http.StatusOK && !sent.Before(end.Add(exact)):
					t.Fatalf("allowed %v after its end", sent.Sub(end))
				case a.status == http.StatusOK:
					before++
				case time.Now().Before(end.Add(-exact)):
					t.Fatalf("refused %v before its end: %s", time.Until(end), a.body)
				}
			}
			if before == 0 {
				t.Error("never allowed")
			}
			s.denied(s.ask("GET", "/orders", "x-api-key: "+k.Key), 401, "key_expired")
		})
		t.Run("6 a client's own identity headers never arrive", func(t *testing.T) {
			s := s.on(t)
			for _, path := range []string{"/orders", "/healthz"} {
				a := s.ask("GET", path, key, "x-auth-user-id: root", "X-Auth-Admin: yes", "x-auth-scopes: *:*", "x-envoy-auth-failure-mode-allowed: true")
				s.allowed(a)
				if got := strings.ToLower(a.body); strings.Contains(got, "root") || strings.Contains(got, "admin") || strings.Contains(got, "*:*") || strings.Contains(got, "failure-mode") {
					t.Errorf("%s: %s", path, a.body)
				}
			}
		})
		t.Run("8 the key never arrives", func(t *testing.T) {
			s := s.on(t)
			for _, header := range []string{key, "authorization: Bearer " + k.Key, "X-API-KEY: " + k.Key} {
				a := s.ask("GET", "/orders", header)
				s.allowed(a)
				if strings.Contains(a.body, k.Key) {
					t.Errorf("%s arrived", strings.SplitN(header, ":", 2)[0])
				}
			}
			if a := s.ask("GET", "/healthz", key); strings.Contains(a.body, k.Key) {
				t.Error("the key arrived on an anonymous route")
			}
		})
		t.Run("11 two key headers are refused", func(t *testing.T) {
			s := s.on(t)
			other := s.NewKey("--scope", "orders:read")
			s.denied(s.ask("GET", "/orders", key, "x-api-key: "+other.Key), 401, "ambiguous_credential")
			s.denied(s.ask("GET", "/orders", key, key), 401, "ambiguous_credential")
			s.denied(s.ask("GET", "/orders", key, "authorization: Bearer "+other.Key), 401, "ambiguous_credential")
		})
		t.Run("whatever stands for a key is answered", func(t *testing.T) {
			s := s.on(t)
			for _, bad := range []string{"a", "a b", "\x80\xff\xfe", strings.Repeat("a", 8<<10), k.Key + "x", k.Key[1:], strings.ToUpper(k.Key), "ak_live_"} {
				if a := s.ask("GET", "/orders", "x-api-key: "+bad); a.status != 401 || a.reached {
					t.Errorf("%d bytes: got %d, upstream reached: %v", len(bad), a.status, a.reached)
				}
			}
			s.denied(s.ask("GET", "/orders", "x-api-key:"), 401, "malformed_key")
		})
		t.Run("17 a path with dots is judged as the upstream sees it", func(t *testing.T) {
			s := s.on(t)
			// The gateway normalises the path: both the judged and the served path are
			// /admin.
			s.denied(s.ask("GET", "/public/../admin", key), 403, "scope_missing")
			s.allowed(s.ask("GET", "/admin/../public", key))
		})
		t.Run("22 case is not folded", func(t *testing.T) {
			s := s.on(t)
			s.denied(s.ask("GET", "/ORDERS", key), 403, "scope_missing")
			s.denied(s.ask("GET", "/HEALTHZ"), 401, "missing_key")
		})
		t.Run("36 a preflight needs a rule to pass without a key", func(t *testing.T) {
			s := s.on(t)
			preflight := []string{"origin: https://a.example", "access-control-request-method: GET"}
			s.denied(s.ask("OPTIONS", "/orders", preflight...), 401, "missing_key")
			a := s.ask("OPTIONS", "/open/orders", append(preflight, "x-auth-user-id: root")...)
			s.allowed(a)
			if strings.Contains(a.body, "x-auth-") {
				t.Errorf("identity on an anonymous route: %s", a.body)
			}
		})
		s.Stop()
	})
}

// on returns the stack for a subtest.
func (s *stack) on(t *testing.T) *stack {
	c := *s
	if c.t = t; s.Service != nil { // some stacks have a scripted service
		c.Service = s.On(t)
	}
	return &c
}
