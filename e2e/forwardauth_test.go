package e2e

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"extauthz/e2e/parts"
)

// alone starts the service's HTTP listener without a proxy in front of it.
func alone(t *testing.T, configuration string) *stack {
	t.Helper()
	s := &stack{Service: parts.StartService(t, configuration), t: t, upstream: parts.StartUpstream(t)}
	s.gateway = s.HTTP
	return s
}

// TestForwardAuth_AnswersTraefik sends the requests of v3.7.13. The full tests run
// Traefik itself.
func TestForwardAuth_AnswersTraefik(t *testing.T) {
	if testing.Short() {
		t.Skip("needs the service")
	}
	s := alone(t, ``)
	k := s.NewKey("--scope", "orders:read")
	sent := func(method, uri string, more ...string) []string {
		return append([]string{"accept-encoding: gzip", "x-forwarded-for: 192.0.2.1", "x-forwarded-host: api.example.com", "x-forwarded-method: " + method,
			"x-forwarded-port: 80", "x-forwarded-proto: http", "x-forwarded-server: edge", "x-forwarded-uri: " + uri, "x-real-ip: 192.0.2.1", "x-api-key: " + k.Key}, more...)
	}
	a := s.ask("GET", "/auth/traefik", sent("GET", "/orders?a=b")...)
	if a.status != 200 || a.header.Get("x-auth-user-id") != "alice" || a.header.Get("x-auth-scopes") != "orders:read" || a.body != "" {
		t.Errorf("got %d %v %s", a.status, a.header, a.body)
	}
	s.denied(s.ask("GET", "/auth/traefik", sent("POST", "/orders")...), 403, "scope_missing")
	s.denied(s.ask("GET", "/auth/traefik", sent("GET", "//orders")...), 400, "path_refused")
	s.denied(s.ask("GET", "/auth/traefik", sent("GET", "/orders", "x-api-key: "+k.Key)...), 401, "ambiguous_credential")
	s.denied(s.ask("GET", "/auth/traefik", sent("GET", "/orders", "x-forwarded-uri: /healthz")...), 403, "forwarding_refused")
	s.denied(s.ask("GET", "/auth/nginx", sent("GET", "/orders")...), 403, "forwarding_refused")
}

// TestForwardAuth_RefusesPathsThatCannotBePassedOn: the proxy would pass on the path that
// the client sent.
func TestForwardAuth_RefusesPathsThatCannotBePassedOn(t *testing.T) {
	if testing.Short() {
		t.Skip("needs the service")
	}
	s := alone(t, `{paths: {repair: true}}`)
	key := "x-api-key: " + s.NewKey("--scope", "orders:read").Key
	s.denied(s.ask("GET", "/check/admin/../orders", key), 400, "path_refused")
	s.denied(s.ask("GET", "/auth/nginx", key, "x-original-method: GET", "x-original-uri: //orders"), 403, "path_refused")
	if a := s.ask("GET", "/check/orders", key); a.status != 200 {
		t.Errorf("got %d %s", a.status, a.body)
	}
}

func TestHTTP_ListenerHasItsOwnTLSAndPeers(t *testing.T) {
	if testing.Short() {
		t.Skip("needs the service")
	}
	c := parts.NewCertificates(t)
	s := alone(t, fmt.Sprintf(`{routes: [{match: /healthz, anonymous: true}], http: {tls: {cert_file: %s, key_file: %s}}}`, c.CertFile, c.KeyFile))
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: c.Pool}, ForceAttemptHTTP2: true}} // which the endpoint does not support
	defer client.CloseIdleConnections()
	for target, want := range map[string]int{"/check/healthz": 200, "/check/orders": 401, "/check//healthz": 400, "/check/orders/../healthz": 400} {
		r, err := http.NewRequest("GET", "https://"+s.HTTP, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.URL.Opaque = target // unchanged
		res, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		if res.StatusCode != want || res.ProtoMajor != 1 {
			t.Errorf("%s: got %d over %s, want %d", target, res.StatusCode, res.Proto, want)
		}
	}
	if res, err := http.Get("http://" + s.HTTP + "/check/healthz"); err == nil {
		if _ = res.Body.Close(); res.StatusCode == 200 {
			t.Error("plain text was answered")
		}
	}

	s = alone(t, `{routes: [{match: /healthz, anonymous: true}], http: {trusted_peers: [203.0.113.0/24]}}`)
	for _, target := range []string{"/check/healthz", "/auth/nginx"} {
		s.denied(s.ask("GET", target, "x-original-method: GET", "x-original-uri: /healthz"), 403, "forwarding_refused")
	}
	if log := s.Log(); !strings.Contains(log, "the peer is none of http.trusted_peers") {
		t.Errorf("the log does not say why: %s", log)
	}
}
