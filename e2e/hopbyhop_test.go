package e2e

import (
	"bufio"
	"crypto/sha1"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"extauthz/e2e/parts"
)

// TestEachProxy_KeepsIdentityThatConnectionNames: headers that a client names in
// Connection are for the next hop only, and a proxy drops them. It must not drop the
// headers that the service has set.
func TestEachProxy_KeepsIdentityThatConnectionNames(t *testing.T) {
	onEachProxy(t, func(t *testing.T, s *stack, _ proxy) {
		k := s.NewKey("--scope", "orders:read")
		for _, connection := range []string{"x-auth-user-id, x-auth-scopes", "close, X-Auth-User-Id,x-auth-key-id", "keep-alive, x-auth-user-id, TE", "x-auth-user-id", "upgrade, x-auth-user-id",
			"x-forwarded-uri, x-forwarded-method, x-original-uri, x-original-method, x-auth-user-id"} {
			a := s.send("GET", "/orders/1", connection, "x-api-key: "+k.Key, "connection: close, x-auth-user-id", "te: trailers", "x-other: stays")
			if got := a.lines("x-auth-user-id"); a.status >= 500 || a.reached && (len(got) != 1 || got[0] != "alice" || len(a.lines("x-auth-scopes")) != 1 || len(a.lines("x-other")) != 1) {
				t.Errorf("%s: got %d, the upstream %s", connection, a.status, a.body)
			} else if !a.reached && !strings.Contains(strings.ToLower(connection), "upgrade") {
				t.Errorf("%s: got %d %s", connection, a.status, a.body)
			}
			for _, line := range a.lines("connection") {
				if strings.Contains(strings.ToLower(line), "x-auth") {
					t.Errorf("%s: the upstream is to drop %s too", connection, line)
				}
			}
		}
	})
}

// websocketUpstream answers websocket handshakes, returns what it receives, and keeps the
// last handshake.
type websocketUpstream struct {
	mu   sync.Mutex
	last http.Header
}

func (u *websocketUpstream) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	u.mu.Lock()
	u.last = r.Header.Clone()
	u.mu.Unlock()
	if !strings.EqualFold(r.Header.Get("Upgrade"), "websocket") || !strings.Contains(strings.ToLower(r.Header.Get("Connection")), "upgrade") {
		w.WriteHeader(http.StatusUpgradeRequired)
		return
	}
	c, stream, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer func() { _ = c.Close() }()
	_, _ = fmt.Fprintf(stream, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n", websocketAccept(r.Header.Get("Sec-WebSocket-Key")))
	_ = stream.Flush()
	_, _ = io.Copy(c, stream) // frames unchanged
}

func websocketAccept(key string) string {
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	return base64.StdEncoding.EncodeToString(sum[:])
}

// TestCaddy_PassesWebsocketsWithIdentity: an upgrade is the only option of Connection
// that stays, and only for a websocket: through h2c, requests would pass without a check.
func TestCaddy_PassesWebsocketsWithIdentity(t *testing.T) {
	if testing.Short() {
		t.Skip("needs Caddy")
	}
	s := parts.StartService(t, proxiesPolicy)
	k := s.NewKey("--scope", "orders:read")
	caddies := []front{exampleFront("caddy", "Caddyfile", func(t *testing.T, configuration string, port int) { parts.StartCaddy(t, configuration, port) })}
	for _, f := range append(caddies, moreFronts()...) {
		if !strings.HasPrefix(f.name, "caddy") {
			continue
		}
		t.Run(f.name, func(t *testing.T) {
			upstream := &websocketUpstream{}
			server := httptest.NewServer(upstream)
			defer server.Close()
			gateway := f.start(t, s.On(t), server.Listener.Addr().String())
			handshake := func(connection, upgrade string, more ...string) (status int, header http.Header, c net.Conn, r *bufio.Reader) {
				c, err := net.DialTimeout("tcp", gateway, 5*time.Second)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { _ = c.Close() })
				_ = c.SetDeadline(time.Now().Add(20 * time.Second))
				lines := append([]string{"GET /orders HTTP/1.1", "Host: api.example.com", "Connection: " + connection, "Upgrade: " + upgrade,
					"Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="}, more...)
				if _, err := io.WriteString(c, strings.Join(lines, "\r\n")+"\r\n\r\n"); err != nil {
					t.Fatal(err)
				}
				r = bufio.NewReader(c)
				res, err := http.ReadResponse(r, nil)
				if err != nil {
					t.Fatal(err)
				}
				_ = res.Body.Close()
				return res.StatusCode, res.Header, c, r
			}
			for _, connection := range []string{"Upgrade", "upgrade", "keep-alive, Upgrade", "Upgrade, x-auth-user-id, X-Auth-Scopes"} {
				status, header, c, r := handshake(connection, "websocket", "X-Api-Key: "+k.Key)
				if status != http.StatusSwitchingProtocols || header.Get("Sec-WebSocket-Accept") != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" {
					t.Fatalf("%s: got %d %v", connection, status, header)
				}
				frame := "\x81\x85\x00\x00\x00\x00hello" // text, masked with zeros
				if _, err := io.WriteString(c, frame); err != nil {
					t.Fatal(err)
				}
				back := make([]byte, len(frame))
				if _, err := io.ReadFull(r, back); err != nil || string(back) != frame {
					t.Errorf("%s: %q came back: %v", connection, back, err)
				}
				upstream.mu.Lock()
				if got := upstream.last; got.Get("X-Auth-User-Id") != "alice" || got.Get("X-Auth-Scopes") != "orders:read" || got.Get("X-Api-Key") != "" {
					t.Errorf("%s: the upstream got %v", connection, got)
				}
				upstream.mu.Unlock()
			}
			if status, _, _, _ := handshake("Upgrade", "websocket"); status != http.StatusUnauthorized {
				t.Errorf("without a key: got %d", status)
			}
			if status, _, _, _ := handshake("Upgrade, HTTP2-Settings", "h2c", "HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA", "X-Api-Key: "+k.Key); status != http.StatusUpgradeRequired {
				t.Errorf("h2c: got %d", status)
			}
			upstream.mu.Lock()
			defer upstream.mu.Unlock()
			if upstream.last.Get("Upgrade") != "" {
				t.Errorf("h2c: the upstream was asked to upgrade to %s", upstream.last.Get("Upgrade"))
			}
		})
	}
}

// TestEnvoy_StripsTrailers: HTTP/2 allows headers after the body, which reach upstreams
// that speak HTTP/2 and are not part of a check.
func TestEnvoy_StripsTrailers(t *testing.T) {
	onEach(t, func(t *testing.T, version string) {
		trailers := make(chan http.Header, 1)
		var h2c http.Protocols
		h2c.SetUnencryptedHTTP2(true)
		upstream := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			trailers <- r.Trailer.Clone()
		}))
		upstream.Config.Protocols = &h2c
		upstream.Start()
		defer upstream.Close()
		s := parts.StartService(t, proxiesPolicy)
		gateway := startPrinted(t, version, s, upstream.Listener.Addr().String(), "    - name: upstream\n", `    - name: upstream
      typed_extension_protocol_options:
        envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
          "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
          explicit_http_config: {http2_protocol_options: {}}
`)
		client := &http.Client{Transport: &http.Transport{Protocols: &h2c}, Timeout: 20 * time.Second}
		defer client.CloseIdleConnections()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+gateway+"/healthz", strings.NewReader("body"))
		if err != nil {
			t.Fatal(err)
		}
		req.ContentLength = -1
		req.Trailer = http.Header{"X-Auth-User-Id": {"root"}, "X.auth.user-Id": {"root"}, "X-Auth-Admin": {"root"}, "X!auth~scopes": {"root"}, "X-Http-Method-Override": {"DELETE"},
			"X.original.url": {"/admin"}, "X-Checksum": {"stays"}}
		res, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		if res.StatusCode != http.StatusOK {
			t.Fatalf("got %d", res.StatusCode)
		}
		got := <-trailers
		for name, values := range got { // trailers that were announced exist, with an empty value
			if wanted := name == "X-Checksum"; wanted != (len(values) > 0) {
				t.Errorf("the upstream got the trailer %s: %q", name, values)
			}
		}
		if got.Get("X-Checksum") != "stays" {
			t.Errorf("the upstream got the trailers %v", got)
		}
	})
}
