package e2e

import (
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"

	"extauthz/e2e/parts"
)

// proxiesPolicy has an open path, and a rule for one host.
const proxiesPolicy = `
default_route: map
routes:
  - {match: "/healthz", anonymous: true}
  - {match: "api.example.com/hosted", resource: strict, action: read}
  - {match: "/objects/{rest...}", resource: objects, action: read, encoded: allow}
client_address: {trusted_hops: 1}
`

// proxy is a program that calls the service over HTTP, and how it treats our answers.
type proxy struct {
	start func(t *testing.T, example func(name string) string, port int)
	// problems: the client gets the problem document and any status.
	problems bool
	// normalises: paths are made plain, or refused, before the check.
	normalises bool
	// bare: a denial's headers are lost, and an error is 403 (Envoy 1.37.0).
	bare bool
	// hides: only listed headers reach the service, so that a key in another one is not
	// seen.
	hides bool
}

func onEachProxy(t *testing.T, test func(t *testing.T, s *stack, p proxy)) {
	if testing.Short() {
		t.Skip("needs proxies")
	}
	proxies := map[string]proxy{
		"nginx": {start: func(t *testing.T, example func(string) string, port int) {
			parts.StartNginx(t, example("nginx.conf"), port)
		}},
		"caddy": {problems: true, start: func(t *testing.T, example func(string) string, port int) {
			parts.StartCaddy(t, example("Caddyfile"), port)
		}},
	}
	for _, version := range parts.Versions() {
		proxies["envoy-"+version] = proxy{problems: true, normalises: true, hides: true, bare: version == "1.37.0", start: func(t *testing.T, example func(string) string, _ int) {
			admin := freePort(t)
			parts.StartEnvoy(t, version, strings.ReplaceAll(example("envoy-http.yaml"), "9901", strconv.Itoa(admin)), admin)
		}}
	}
	for name, p := range moreProxies() {
		proxies[name] = p
	}
	for name, p := range proxies {
		t.Run(name, func(t *testing.T) {
			s := &stack{Service: parts.StartService(t, proxiesPolicy), t: t, upstream: parts.StartUpstream(t)}
			port := freePort(t)
			s.gateway = "127.0.0.1:" + strconv.Itoa(port)
			p.start(t, func(name string) string {
				example, err := os.ReadFile("../envoy/examples/" + name)
				if err != nil {
					t.Fatal(err)
				}
				return strings.NewReplacer("8080", strconv.Itoa(port), "8081", portOf(t, s.upstream.Address), "9002", portOf(t, s.HTTP), "9090", portOf(t, s.Ops)).Replace(string(example))
			}, port)
			test(t, s, p)
		})
	}
}

func portOf(t *testing.T, address string) string {
	t.Helper()
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// refused checks that a request did not pass. The status may be the proxy's own.
func (s *stack) refused(p proxy, a answer, status int, code string) {
	s.t.Helper()
	if p.problems {
		s.denied(a, status, code)
		return
	}
	if status != http.StatusUnauthorized {
		status = http.StatusForbidden // nginx accepts no other status
	}
	if a.status != status || a.reached {
		s.t.Errorf("got %d (upstream reached: %v) %s, want %d", a.status, a.reached, a.body, status)
	}
}

// lines returns the values of a header that reached the upstream, in lower case.
func (a answer) lines(name string) (values []string) {
	for line := range strings.SplitSeq(a.body, "\r\n") {
		if n, value, ok := strings.Cut(line, ":"); ok && strings.EqualFold(n, name) {
			values = append(values, strings.TrimSpace(value))
		}
	}
	return values
}

// TestEachProxy_ServesWhatWasDecided: with the unchanged examples.
func TestEachProxy_ServesWhatWasDecided(t *testing.T) {
	onEachProxy(t, func(t *testing.T, s *stack, p proxy) {
		k := s.NewKey("--scope", "orders:read", "--project", "acme")
		key := "x-api-key: " + k.Key

		a := s.ask("GET", "/orders/1?x=/../&y=%2F&flag", key, "x-other: stays")
		s.allowed(a)
		if !strings.HasPrefix(a.body, "GET /orders/1?x=/../&y=%2F&flag HTTP/1.") || len(a.lines("x-other")) != 1 {
			t.Errorf("the request was changed: %s", a.body)
		}
		for name, want := range map[string]string{"x-auth-user-id": "alice", "x-auth-key-id": k.ID, "x-auth-key-prefix": k.Prefix, "x-auth-key-name": "laptop",
			"x-auth-scopes": "orders:read", "x-auth-environment": "live", "x-auth-project": "acme"} {
			if got := a.lines(name); len(got) != 1 || got[0] != want {
				t.Errorf("%s reached the upstream as %q", name, got)
			}
		}
		for _, header := range []string{key, "authorization: Bearer " + k.Key} {
			if a := s.ask("GET", "/orders", header); !a.reached || strings.Contains(a.body, k.Key) {
				t.Errorf("reached: %v, with the key: %s", a.reached, a.body)
			}
		}

		a = s.ask("GET", "/orders")
		s.refused(p, a, 401, "missing_key")
		if !p.bare && (!strings.HasPrefix(a.header.Get("www-authenticate"), "Bearer ") || p.problems && a.header.Get("content-type") != "application/problem+json") {
			t.Errorf("a refused client got %v", a.header)
		}
		s.refused(p, s.ask("GET", "/orders", "x-api-key: no key"), 401, "malformed_key")
		s.refused(p, s.ask("GET", "/orders", "x-api-key: "+forged(t, "ak_live_00000000_")), 401, "invalid_key")
		s.refused(p, s.ask("GET", "/orders", key, key), 401, "ambiguous_credential")
		s.refused(p, s.ask("POST", "/orders", key, "content-length: 0"), 403, "scope_missing")
		s.refused(p, s.ask("GET", "/hosted", "x-api-key: "+s.NewKey("--scope", "hosted:read").Key), 403, "scope_missing")
		s.allowed(s.ask("GET", "/healthz"))

		limited := "x-api-key: " + s.NewKey("--scope", "orders:read", "--rate", "1/h").Key
		s.allowed(s.ask("GET", "/orders", limited))
		a = s.ask("GET", "/orders", limited)
		s.refused(p, a, 429, "throttled")
		if !p.bare && a.header.Get("retry-after") == "" {
			t.Errorf("a throttled client got %v", a.header)
		}
		revoked := s.NewKey("--scope", "orders:read")
		s.Must("keys", "revoke", revoked.ID)
		s.refused(p, s.ask("GET", "/orders", "x-api-key: "+revoked.Key), 401, "key_revoked")

		s.Kill()
		if a := s.ask("GET", "/orders", key); a.status < 500 && !p.bare || a.status < 400 || a.reached {
			t.Errorf("with the service gone: %d, upstream reached: %v", a.status, a.reached)
		}
	})
}

// TestProxies_DoNotTrustTheirClients: neither about the identity, nor about the request,
// nor about the address.
func TestProxies_DoNotTrustTheirClients(t *testing.T) {
	onEachProxy(t, func(t *testing.T, s *stack, p proxy) {
		k := s.NewKey("--scope", "orders:read")
		key := "x-api-key: " + k.Key

		t.Run("identity", func(t *testing.T) {
			s := s.at(t)
			spoofed := []string{"x-auth-user-id: root", "X-Auth-Scopes: root", "x-auth-environment: root", "x-auth-key-id: root", "x-auth-project: root"}
			a := s.ask("GET", "/orders", append(spoofed, key)...)
			if got := a.lines("x-auth-user-id"); !a.reached || strings.Contains(a.body, "root") || len(got) != 1 || got[0] != "alice" {
				t.Errorf("reached: %v, %s", a.reached, a.body)
			}
			if a := s.ask("GET", "/healthz", spoofed...); !a.reached || strings.Contains(a.body, "root") || strings.Contains(a.body, "{http") {
				t.Errorf("on an anonymous route, reached: %v, %s", a.reached, a.body)
			}
			for _, name := range []string{"x-auth-admin", "x_auth_user_id", "x-auth_user-id", "X-AUTH-meta-tier"} { // removed or refused
				for _, a := range []answer{s.ask("GET", "/orders", key, name+": root"), s.ask("GET", "/healthz", name+": root")} {
					if a.reached && strings.Contains(a.body, "root") {
						t.Errorf("%s reached the upstream", name)
					}
				}
			}
			// If a client names it in Connection, one of our headers may be lost, but not
			// replaced.
			if a := s.send("GET", "/orders", "close, x-auth-user-id", key, "x-auth-user-id: root"); a.reached && strings.Contains(a.body, "root") {
				t.Errorf("a connection header brought %s", a.body)
			}
		})
		t.Run("request", func(t *testing.T) {
			s := s.at(t)
			forgeries := []string{"x-forwarded-method: GET", "x-forwarded-uri: /healthz", "x-forwarded-host: other.example.com", "x-forwarded-proto: https",
				"x-original-method: GET", "x-original-uri: /healthz", "x-original-url: /healthz", "x-rewrite-url: /healthz", "x-envoy-original-path: /healthz"}
			s.refused(p, s.ask("GET", "/orders", forgeries...), 401, "missing_key")
			s.refused(p, s.ask("GET", "/orders", append(forgeries, forgeries...)...), 401, "missing_key")
			s.refused(p, s.ask("POST", "/orders", append(forgeries, key, "content-length: 0")...), 403, "scope_missing")
			s.refused(p, s.ask("GET", "/hosted", append(forgeries, "x-api-key: "+s.NewKey("--scope", "hosted:read").Key)...), 403, "scope_missing")
			s.allowed(s.ask("GET", "/orders", append(forgeries, key)...))
		})
		t.Run("path", func(t *testing.T) {
			s := s.at(t)
			for _, path := range []string{"//admin", "/orders/../admin", "/orders/%2e%2e/admin", "/orders/..%2fadmin", "/orders%2f..%2fadmin",
				"/orders/%252e%252e/admin", `/orders\..\admin`, "/orders/..;/admin", "/%61dmin", "/healthz/../admin", "/healthz/%2e%2e/admin", "//healthz/../admin",
				"/auth/nginx", "/check/orders", "/_extauthz"} {
				for _, a := range []answer{s.ask("GET", path), s.ask("GET", path, key)} {
					if a.reached || a.status < 400 {
						t.Errorf("%s: got %d, upstream reached: %s", path, a.status, a.body)
					}
				}
			}
		})
		t.Run("address", func(t *testing.T) {
			s := s.at(t)
			here := []string{"--scope", "orders:read"}
			addresses, err := net.InterfaceAddrs() // Envoy writes its machine's address if a client is on loopback
			if err != nil {
				t.Fatal(err)
			}
			for _, a := range addresses {
				here = append(here, "--allow-cidr", a.(*net.IPNet).IP.String())
			}
			near, far := s.NewKey(here...), s.NewKey("--scope", "orders:read", "--allow-cidr", "203.0.113.0/24")
			s.allowed(s.ask("GET", "/orders", "x-api-key: "+near.Key))
			s.allowed(s.ask("GET", "/orders", "x-api-key: "+near.Key, "x-forwarded-for: 203.0.113.7"))
			s.refused(p, s.ask("GET", "/orders", "x-api-key: "+far.Key, "x-forwarded-for: 203.0.113.7", "x-real-ip: 203.0.113.7"), 403, "network_refused")
		})
	})
}

// at returns the stack for a subtest.
func (s *stack) at(t *testing.T) *stack {
	c := *s
	c.Service, c.t = s.On(t), t
	return &c
}
