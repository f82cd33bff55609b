package e2e

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"extauthz/e2e/parts"
)

// mutual starts the service with client certificates required, and an Envoy that presents
// the certificate of shows.
func mutual(t *testing.T, version string, a *parts.Authority, server, shows parts.Certificates) *stack {
	t.Helper()
	s := &stack{t: t, upstream: parts.StartUpstream(t), Service: parts.StartService(t, fmt.Sprintf(
		`grpc: {tls: {cert_file: %q, key_file: %q, client_ca_file: %q, allowed_sans: [gateway.example.com]}, max_connection_age: 1s, max_connection_age_grace: 1s}`, server.CertFile, server.KeyFile, a.CAFile))}
	listen, admin := freePort(t), freePort(t)
	s.gateway, s.admin = fmt.Sprintf("127.0.0.1:%d", listen), fmt.Sprintf("127.0.0.1:%d", admin)
	parts.StartEnvoy(t, version, s.Must("envoy", "bootstrap", "--upstream", s.upstream.Address, "--listen", s.gateway, "--admin", s.admin,
		"--tls-ca", a.CAFile, "--tls-name", "extauthz.example.com", "--tls-cert", shows.CertFile, "--tls-key", shows.KeyFile), admin)
	return s
}

// TestTLS_EnvoyAndServiceVerifyEachOther: while the service's certificate is replaced
// under load.
func TestTLS_EnvoyAndServiceVerifyEachOther(t *testing.T) {
	onEach(t, func(t *testing.T, version string) {
		a, dir := parts.NewAuthority(t), t.TempDir()
		server, gateway := a.Issue(dir, "extauthz.example.com"), a.Issue(t.TempDir(), "gateway.example.com")
		s := mutual(t, version, a, server, gateway)
		key := "x-api-key: " + s.NewKey("--scope", "orders:read").Key
		eventually(t, func() error { // Envoy's first health check
			if a := s.ask("GET", "/orders", key); a.status != 200 {
				return fmt.Errorf("got %d %s", a.status, a.body)
			}
			return nil
		})
		pair, err := tls.LoadX509KeyPair(gateway.CertFile, gateway.KeyFile)
		if err != nil {
			t.Fatal(err)
		}
		serial := func() string {
			t.Helper()
			c, err := tls.Dial("tcp", s.GRPC, &tls.Config{RootCAs: a.Pool, ServerName: "extauthz.example.com", Certificates: []tls.Certificate{pair}, NextProtos: []string{"h2"}})
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = c.Close() }()
			return c.ConnectionState().PeerCertificates[0].SerialNumber.String()
		}
		before, exchanged := serial(), time.Time{}
		for n := 0; exchanged.IsZero() || time.Since(exchanged) < 2500*time.Millisecond; n++ { // over two of Envoy's connections
			if n == 20 {
				a.Issue(dir, "extauthz.example.com")
				exchanged = time.Now()
			}
			if got := s.ask("GET", "/orders", key); got.status != 200 {
				t.Fatalf("request %d: %d %s", n, got.status, got.body)
			}
		}
		if serial() == before {
			t.Errorf("still certificate %s", before)
		}
	})
}

// TestTLS_RefusesClientsWithoutAValidCertificate: no certificate, one of another
// authority, one with another name, an old version of TLS, no TLS.
func TestTLS_RefusesClientsWithoutAValidCertificate(t *testing.T) {
	if testing.Short() {
		t.Skip("needs Envoy")
	}
	a, other := parts.NewAuthority(t), parts.NewAuthority(t)
	server := a.Issue(t.TempDir(), "extauthz.example.com")
	stranger := a.Issue(t.TempDir(), "stranger.example.com")
	s := mutual(t, parts.Versions()[0], a, server, stranger)
	key := "x-api-key: " + s.NewKey("--scope", "orders:read").Key
	if got := s.ask("GET", "/orders", key); got.status != 503 || got.reached {
		t.Errorf("an Envoy of another name: %d, upstream reached: %v", got.status, got.reached)
	}
	pair := func(c parts.Certificates) []tls.Certificate {
		t.Helper()
		p, err := tls.LoadX509KeyPair(c.CertFile, c.KeyFile)
		if err != nil {
			t.Fatal(err)
		}
		return []tls.Certificate{p}
	}
	good := a.Issue(t.TempDir(), "gateway.example.com")
	for name, c := range map[string]struct {
		config *tls.Config
		taken  bool
	}{
		"the gateway":         {&tls.Config{Certificates: pair(good)}, true},
		"no certificate":      {&tls.Config{}, false},
		"another authority's": {&tls.Config{Certificates: pair(other.Issue(t.TempDir(), "gateway.example.com"))}, false},
		"another name":        {&tls.Config{Certificates: pair(stranger)}, false},
		"plain text":          {nil, false},
		"TLS 1.1":             {&tls.Config{Certificates: pair(good), MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}, false},
	} {
		if c.config != nil {
			c.config.RootCAs, c.config.ServerName, c.config.NextProtos = a.Pool, "extauthz.example.com", []string{"h2"}
		}
		if taken := handshakes(s.GRPC, c.config); taken != c.taken {
			t.Errorf("%s: taken: %v", name, taken)
		}
	}
}

// handshakes reports whether a server accepts a client; a nil config means plain text. In
// TLS 1.3 the server refuses only after the client has finished its handshake.
func handshakes(address string, c *tls.Config) bool {
	conn, err := net.DialTimeout("tcp", address, 5*time.Second)
	if err != nil {
		return false
	}
	if c != nil {
		conn = tls.Client(conn, c)
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := conn.Write([]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00")); err != nil {
		return false
	}
	first := make([]byte, 9) // the header of its settings
	_, err = io.ReadFull(conn, first)
	return err == nil && first[3] == 4
}

// TestTransport_UnixSocket: the socket belongs to one process, and the next one replaces
// it.
func TestTransport_UnixSocket(t *testing.T) {
	onEach(t, func(t *testing.T, version string) {
		socket := filepath.Join(t.TempDir(), "s")
		s := newStack(t, version, "grpc: {listen: \"unix:"+socket+"\"}")
		key := "x-api-key: " + s.NewKey("--scope", "orders:read").Key
		s.allowed(s.ask("GET", "/orders", key))
		s.denied(s.ask("GET", "/orders"), 401, "missing_key")
		s.Kill()
		if a := s.ask("GET", "/orders", key); a.status != 503 || a.reached {
			t.Errorf("with the service gone: %d, upstream reached: %v", a.status, a.reached)
		}
		s.Restart()
		eventually(t, func() error {
			if a := s.ask("GET", "/orders", key); a.status != 200 {
				return fmt.Errorf("got %d", a.status)
			}
			return nil
		})
	})
}

func TestBootstrap_RequiresTheFlagsOfTLS(t *testing.T) {
	if testing.Short() {
		t.Skip("needs the service")
	}
	a := parts.NewAuthority(t)
	server := a.Issue(t.TempDir(), "extauthz.example.com")
	s := parts.StartService(t, fmt.Sprintf(`grpc: {tls: {cert_file: %q, key_file: %q, client_ca_file: %q}}`, server.CertFile, server.KeyFile, a.CAFile))
	for want, args := range map[string][]string{
		"--tls-ca":   nil,
		"--tls-cert": {"--tls-ca", a.CAFile, "--tls-name", "extauthz.example.com"},
		"name":       {"--tls-ca", a.CAFile, "--tls-cert", server.CertFile, "--tls-key", server.KeyFile},
	} {
		if _, said, err := s.CLI(append([]string{"envoy", "bootstrap", "--upstream", "127.0.0.1:1"}, args...)...); err == nil || !strings.Contains(said, want) {
			t.Errorf("%v: %v %s", args, err, said)
		}
	}
}

// TestTLS_EveryListenerRequiresItsClientCertificates tests the HTTP listeners; the gRPC
// listener is tested above.
func TestTLS_EveryListenerRequiresItsClientCertificates(t *testing.T) {
	if testing.Short() {
		t.Skip("needs the service")
	}
	a := parts.NewAuthority(t)
	c := a.Issue(t.TempDir(), "localhost")
	listener := fmt.Sprintf("tls: {cert_file: %q, key_file: %q, client_ca_file: %q}", c.CertFile, c.KeyFile, a.CAFile)
	s := parts.StartService(t, fmt.Sprintf("http: {%s}\nadmin: {%[1]s}\nops: {tls: {cert_file: %q, key_file: %q}}\n", listener, c.CertFile, c.KeyFile))
	pair, err := tls.LoadX509KeyPair(c.CertFile, c.KeyFile)
	if err != nil {
		t.Fatal(err)
	}
	get := func(address string, certificates ...tls.Certificate) bool {
		t.Helper()
		client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: a.Pool, Certificates: certificates}, DisableKeepAlives: true}}
		res, err := client.Get("https://" + address + "/healthz")
		if err == nil {
			_ = res.Body.Close()
		}
		return err == nil
	}
	for name, address := range map[string]string{"http": s.HTTP, "admin": s.Admin} {
		if !get(address, pair) || get(address) {
			t.Errorf("%s: with a certificate answered: %v, without: %v", name, get(address, pair), get(address))
		}
	}
	if !get(s.Ops) {
		t.Error("ops does not speak TLS")
	}
	if said, errSaid, err := s.CLI("healthcheck"); err != nil {
		t.Errorf("healthcheck: %v: %s%s", err, said, errSaid)
	}
}
