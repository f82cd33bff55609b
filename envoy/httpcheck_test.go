package envoy

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"extauthz/authz"
)

// httpAnswer is the answer that a proxy gets.
type httpAnswer struct {
	status int
	header http.Header
	body   string
}

// serveHTTP listens until the test ends.
func serveHTTP(t testing.TB, l net.Listener, c HTTPConfig, s *Service) {
	t.Helper()
	server := NewHTTPServer(c, s)
	done := make(chan struct{})
	go func() { defer close(done); _ = server.Serve(l) }()
	t.Cleanup(func() { _ = server.Close(); <-done })
}

func listenHTTP(t testing.TB, c HTTPConfig, s *Service) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	serveHTTP(t, l, c, s)
	return l.Addr().String()
}

// askHTTP sends a request unchanged.
func askHTTP(t testing.TB, network, address, line string, headers ...string) httpAnswer {
	t.Helper()
	c, err := net.Dial(network, address)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	lines := append([]string{line + " HTTP/1.1", "host: api.example.com", "connection: close"}, headers...)
	if _, err := io.WriteString(c, strings.Join(lines, "\r\n")+"\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	method, _, _ := strings.Cut(line, " ")
	res, err := http.ReadResponse(bufio.NewReader(c), &http.Request{Method: method})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return httpAnswer{res.StatusCode, res.Header, string(body)}
}

// The forward-auth requests of each proxy about GET /orders?a=b.
var forwardedRequests = map[string][]string{
	"/auth/nginx":                {"x-original-method: GET", "x-original-uri: /orders?a=b"},
	"/auth/nginx-gateway-fabric": {"method: GET", "path: /orders?a=b"},
	"/auth/caddy":                {"x-forwarded-method: GET", "x-forwarded-uri: /orders?a=b", "x-forwarded-host: api.example.com", "x-forwarded-proto: http", "x-forwarded-for: 192.0.2.1"},
	// As Traefik v3.7.13 sends them.
	"/auth/traefik": {"x-forwarded-method: GET", "x-forwarded-uri: /orders?a=b", "x-forwarded-host: api.example.com", "x-forwarded-proto: http", "x-forwarded-for: 192.0.2.1",
		"x-forwarded-port: 80", "x-forwarded-server: edge", "x-real-ip: 192.0.2.1", "accept-encoding: gzip"},
}

// kept is a copy of a request that stays valid after its check.
func kept(r *authz.Request) *authz.Request {
	own := *r
	own.Headers = slices.Clone(r.Headers)
	return &own
}

func TestHTTP_EachDialectReadsItsOwnHeadersAlone(t *testing.T) {
	var asked []*authz.Request
	decide := func(r *authz.Request) (authz.Decision, error) {
		asked = append(asked, kept(r))
		return authz.Decision{Allowed: true, Reason: authz.ReasonAnonymous}, nil
	}
	address := listenHTTP(t, HTTPConfig{}, service(t, EncoderConfig{KeepOverrides: OverrideHeaders()}, decide))
	strict := listenHTTP(t, HTTPConfig{}, service(t, EncoderConfig{}, decide))
	forgeries := map[string][]string{
		"/auth/nginx":                {"x-forwarded-method: POST", "x-forwarded-uri: /lie", "x-forwarded-host: lie", "x-rewrite-url: /lie", "x_original_uri: /lie"},
		"/auth/nginx-gateway-fabric": {"x-original-method: POST", "x-original-uri: /lie", "x-forwarded-host: lie", "x-rewrite-url: /lie"},
		"/auth/caddy":                {"x-original-method: POST", "x-original-uri: /lie", "x-original-host: lie", "x_forwarded_uri: /lie"},
		"/auth/traefik":              {"x-original-method: POST", "x-original-uri: /lie", "x-original-host: lie", "forwarded: host=lie"},
	}
	for endpoint, headers := range forwardedRequests {
		asked = nil
		if a := askHTTP(t, "tcp", address, "DELETE "+endpoint, append(slices.Clone(headers), forgeries[endpoint]...)...); a.status != 200 || len(asked) != 1 {
			t.Fatalf("%s: got %d", endpoint, a.status)
		}
		r := asked[0]
		asked = nil
		if a := askHTTP(t, "tcp", strict, "GET "+endpoint, headers...); a.status != 200 || len(asked) != 1 {
			t.Errorf("%s, with its own headers alone: got %d", endpoint, a.status)
		}
		// Upstreams obey these headers, and these callers can't be made to remove them.
		for _, lie := range forgeries[endpoint] {
			if a := askHTTP(t, "tcp", strict, "GET "+endpoint, append(slices.Clone(headers), lie)...); a.status != 403 || len(asked) != 1 || !strings.Contains(a.body, `"forwarding_refused"`) {
				t.Errorf("%s with %s: got %d %s", endpoint, lie, a.status, a.body)
			}
		}
		if r.Method != "GET" || r.Path != "/orders?a=b" || r.Host != "api.example.com" || r.Peer.IsValid() || r.PathSanitised || !r.PathFixed {
			t.Errorf("%s: judged %s %s%s, %+v", endpoint, r.Method, r.Host, r.Path, r)
		}
		for i, line := range headers {
			name, _, _ := strings.Cut(line, ":")
			needed := strings.HasSuffix(name, "method") || strings.HasSuffix(name, "-uri") || name == "path" || strings.HasSuffix(name, "-host")
			for what, wrong := range map[string][]string{
				"absent": slices.Delete(slices.Clone(headers), i, i+1), "empty": append(slices.Delete(slices.Clone(headers), i, i+1), name+":"),
				"twice": append(slices.Clone(headers), line), "twice, differing": append(slices.Clone(headers), name+": /healthz"),
			} {
				asked = nil
				a := askHTTP(t, "tcp", address, "GET "+endpoint, wrong...)
				if needed && (a.status != 403 || len(asked) != 0 || !strings.Contains(a.body, `"code":"forwarding_refused"`)) {
					t.Errorf("%s, %s %s: got %d %s", endpoint, name, what, a.status, a.body)
				} else if !needed && a.status != 200 {
					t.Errorf("%s, %s %s: got %d", endpoint, name, what, a.status)
				}
			}
		}
	}
	for _, endpoint := range []string{"/", "/auth", "/auth/envoy", "/auth/nginx/", "//auth/nginx", "/auth//nginx", "/auth/./nginx", "/auth/%6eginx", "/healthz"} {
		asked = nil
		if a := askHTTP(t, "tcp", address, "GET "+endpoint, forwardedRequests["/auth/nginx"]...); a.status != 404 || len(asked) != 0 {
			t.Errorf("%s: got %d", endpoint, a.status)
		}
	}
}

func TestHTTP_JudgesTheRawTarget(t *testing.T) {
	var asked *authz.Request
	s := service(t, EncoderConfig{}, func(r *authz.Request) (authz.Decision, error) {
		asked = kept(r)
		return authz.Decision{Reason: authz.ReasonMissing}, nil
	})
	address := listenHTTP(t, HTTPConfig{}, s)
	for target, want := range map[string]string{
		"/check/orders?a=/../b": "/orders?a=/../b", "/check//admin": "//admin", "/check/a/../b": "/a/../b", "/check/%2e%2e/%2Fb": "/%2e%2e/%2Fb", "/check/caf\xc3\xa9": "/caf\xc3\xa9",
		"/check": "", "/check?x": "?x", "/checkout": "out", "/check/check/a": "/check/a",
	} {
		if a := askHTTP(t, "tcp", address, "PATCH "+target, "x-api-key: a,b"); a.status != 401 || asked.Path != want || asked.Method != "PATCH" || asked.Host != "api.example.com" {
			t.Errorf("%s: got %d, judged %q", target, a.status, asked.Path)
		}
		if !asked.PathSanitised || lineOf(asked, "x-api-key") != "a,b" || !asked.Headers[0].Sanitised {
			t.Errorf("%s: Envoy joins headers and makes \"!\" of bytes here: %+v", target, asked)
		}
	}
	if a := askHTTP(t, "tcp", address, "CONNECT /check"); a.status != 401 || asked.Method != "CONNECT" || asked.Path != "" {
		t.Errorf("CONNECT: got %d, judged %q", a.status, asked.Path)
	}
	for _, line := range []string{"OPTIONS *", "GET http://api.example.com/check/orders", "CONNECT api.example.com:443", "GET /check/%zz"} {
		if a := askHTTP(t, "tcp", address, line); a.status < 400 {
			t.Errorf("%s: got %d", line, a.status)
		}
	}
}

func TestHTTP_AnswersOnlyTrustedPeers(t *testing.T) {
	s := service(t, EncoderConfig{}, allow(authz.Record{ID: "i"}))
	for _, c := range []struct {
		trusted, peer string
		answered      bool
	}{
		{"", "127.0.0.1:1", true}, {"", "[::1]:1", true}, {"", "[::ffff:127.0.0.1]:1", true}, {"", "10.0.0.1:1", false}, {"", "[fe80::1%eth0]:1", false}, {"", "@", false}, {"", "", false},
		{"10.0.0.0/8", "10.0.0.1:1", true}, {"10.0.0.0/8", "[::ffff:10.0.0.1]:1", true}, {"10.0.0.0/8", "11.0.0.1:1", false}, {"10.0.0.0/8", "127.0.0.1:1", false},
	} {
		var trusted []netip.Prefix
		if c.trusted != "" {
			trusted = []netip.Prefix{netip.MustParsePrefix(c.trusted)}
		}
		for _, target := range []string{"/check/orders", "/auth/nginx"} {
			r := httptest.NewRequest("GET", target, nil)
			r.Header.Set("X-Original-Method", "GET")
			r.Header.Set("X-Original-URI", "/orders")
			r.RemoteAddr = c.peer
			w := httptest.NewRecorder()
			NewHTTPServer(HTTPConfig{TrustedPeers: trusted}, s).Handler.ServeHTTP(w, r)
			if answered := w.Code == 200; answered != c.answered || !answered && w.Code != 403 {
				t.Errorf("%s from %q, trusted %q: got %d", target, c.peer, c.trusted, w.Code)
			}
		}
	}
	socket := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	serveHTTP(t, l, HTTPConfig{TrustedPeers: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}, s)
	if a := askHTTP(t, "unix", socket, "GET /check/orders"); a.status != 200 {
		t.Errorf("on a Unix socket: got %d", a.status)
	}
}

func TestHTTP_AllowedAnswerCarriesIdentityInEachDialect(t *testing.T) {
	s := service(t, EncoderConfig{MetadataHeaders: []string{"tier"}, DebugHeaders: true}, func(r *authz.Request) (authz.Decision, error) {
		d, err := allow(authz.Record{ID: "i", UserID: "u\r\nx: y"}, authz.CredentialSource{Kind: authz.SourceHeader, Name: "x-api-key"},
			authz.CredentialSource{Kind: authz.SourceCookie, Name: "key"}, authz.CredentialSource{Kind: authz.SourceQuery, Name: "a"})(r)
		d.Layer = authz.LayerLocal
		return d, err
	})
	address := listenHTTP(t, HTTPConfig{}, s)
	complete := []string{"x-auth-key-id", "x-auth-key-prefix", "x-auth-user-id", "x-auth-key-name", "x-auth-scopes", "x-auth-environment", "x-auth-project", "x-auth-meta-tier"}
	common := []string{"x-auth-user-id: root", "cookie: a=1; key=K"}

	a := askHTTP(t, "tcp", address, "GET /check/orders?a=b", append(common, "x-auth-admin: 1", "x_auth_user_id: root")...)
	if a.status != 200 || a.body != "" || a.header.Get("x-auth-user-id") != "u%0D%0Ax: y" || a.header.Get("cookie") != "a=1" || a.header.Get("x-cache-status") != "HIT" {
		t.Errorf("got %d %v %q", a.status, a.header, a.body)
	}
	removed := strings.Split(a.header.Get(removalsHeader), ",")
	for _, name := range append(slices.Clone(complete), "x-auth-admin", "x_auth_user_id", "x-api-key") {
		if _, set := a.header[http.CanonicalHeaderKey(name)]; set == slices.Contains(removed, name) {
			t.Errorf("%s has to be set or removed: %v, %v", name, a.header, removed)
		}
	}
	for endpoint, headers := range forwardedRequests {
		a := askHTTP(t, "tcp", address, "GET "+endpoint, append(slices.Clone(headers), common...)...)
		if a.status != 200 || a.body != "" || a.header.Get("x-auth-user-id") != "u%0D%0Ax: y" || a.header.Get(removalsHeader) != "" || a.header.Get("cookie") != "" {
			t.Errorf("%s: got %d %v %q", endpoint, a.status, a.header, a.body)
		}
		for _, name := range complete {
			if lines, set := a.header[http.CanonicalHeaderKey(name)]; endpoint == "/auth/caddy" && !set || len(lines) > 1 {
				t.Errorf("%s: %s is %q", endpoint, name, lines)
			}
		}
		// A header is refused if no answer overwrites it and the caller can't be made to
		// remove it.
		for _, name := range []string{"x-auth-admin", "x_auth_user_id", "X-Auth_User-Id", "x-auth-meta-team", "X.Auth.User.Id", "x!auth~user|id", "X-Http_Method.Override", "script_name"} {
			if a := askHTTP(t, "tcp", address, "GET "+endpoint, append(slices.Clone(headers), name+": root")...); a.status != 403 || !strings.Contains(a.body, `"forwarding_refused"`) {
				t.Errorf("%s with %s: got %d", endpoint, name, a.status)
			}
		}
	}
}

func TestHTTP_DenialsHaveTheCallersStatus(t *testing.T) {
	overrides := map[string]Override{"key_revoked": {Status: 503}, "scope_missing": {Status: 404}}
	for _, reason := range authz.Reasons() {
		if reason == authz.ReasonGranted || reason == authz.ReasonAnonymous {
			continue
		}
		s := service(t, EncoderConfig{Overrides: overrides}, func(*authz.Request) (authz.Decision, error) { return authz.Decision{Reason: reason}, nil })
		address := listenHTTP(t, HTTPConfig{}, s)
		own := reason.Status()
		if o := overrides[reason.Code()]; o.Status != 0 {
			own = o.Status
		}
		check := func(endpoint string, want int, a httpAnswer) {
			t.Helper()
			var p problem
			if err := json.Unmarshal([]byte(a.body), &p); err != nil || a.status != want || p.Code != reason.Code() || a.header.Get("content-type") != "application/problem+json" ||
				a.header.Get("cache-control") != "no-store" {
				t.Errorf("%s, %v: got %d %v %s", endpoint, reason, a.status, a.header, a.body)
			}
			if (a.header.Get("www-authenticate") != "") != (own == 401) || (a.header.Get("retry-after") != "") != (reason == authz.ReasonThrottled) {
				t.Errorf("%s, %v: got %v", endpoint, reason, a.header)
			}
		}
		for endpoint, headers := range forwardedRequests {
			want := own
			if strings.HasPrefix(endpoint, "/auth/nginx") && own < 500 && own != 401 {
				want = 403
			}
			check(endpoint, want, askHTTP(t, "tcp", address, "GET "+endpoint, headers...))
		}
		want := own
		if want >= 500 { // Envoy treats it as an error, on which failure_mode_allow lets the request in
			want = 403
		}
		check("/check", want, askHTTP(t, "tcp", address, "GET /check/orders"))
		if a := askHTTP(t, "tcp", address, "POST /check/a.B/C", "content-type: application/grpc", "content-length: 0"); a.status != want || strings.HasPrefix(a.body, "{") || a.header.Get("content-type") != "" {
			t.Errorf("%v: a gRPC client got %d %v %s", reason, a.status, a.header, a.body)
		}
	}
}

func TestHTTP_UndecidedIsAnError(t *testing.T) {
	down := errors.New("store down")
	for name, a := range map[string]saying{
		"error": func(*authz.Request) (authz.Decision, error) { return authz.Decision{}, down },
		"panic": func(*authz.Request) (authz.Decision, error) { panic("bug") },
	} {
		for mode, denied := range map[OnError]int{OnErrorUnavailable: 503, OnErrorDeny: 403, OnErrorResponse: 503} {
			address := listenHTTP(t, HTTPConfig{}, service(t, EncoderConfig{OnError: mode}, a))
			if a := askHTTP(t, "tcp", address, "GET /check/orders"); a.status != denied || !strings.Contains(a.body, `"code":"unavailable"`) || a.header.Get("retry-after") == "" {
				t.Errorf("%s, on_error %s: got %d %s", name, mode, a.status, a.body)
			}
			for endpoint, headers := range forwardedRequests {
				if a := askHTTP(t, "tcp", address, "GET "+endpoint, headers...); a.status != 503 || strings.Contains(a.body, "store") {
					t.Errorf("%s, %s, on_error %s: got %d %s", endpoint, name, mode, a.status, a.body)
				}
			}
		}
	}
}

// TestHTTP_SharesPolicyAndCountsWithGRPC: a reload and the counters cover checks over
// HTTP and over gRPC alike.
func TestHTTP_SharesPolicyAndCountsWithGRPC(t *testing.T) {
	registry := prometheus.NewRegistry()
	s, err := New(Config{Checker: allow(authz.Record{ID: "i"}), Logger: slog.New(slog.DiscardHandler), Registerer: registry})
	if err != nil {
		t.Fatal(err)
	}
	address := listenHTTP(t, HTTPConfig{}, s)
	if a := askHTTP(t, "tcp", address, "GET /check/orders"); a.header.Get("x-auth-key-id") != "i" {
		t.Fatalf("got %d %v", a.status, a.header)
	}
	if err := s.SetPolicy(saying(func(*authz.Request) (authz.Decision, error) { return authz.Decision{Reason: authz.ReasonScope}, nil }), EncoderConfig{}); err != nil {
		t.Fatal(err)
	}
	if a := askHTTP(t, "tcp", address, "GET /check/orders"); a.status != 403 {
		t.Errorf("got %d", a.status)
	}
	askHTTP(t, "tcp", address, "GET /auth/nginx")
	if _, err := s.Check(t.Context(), request("/orders", nil)); err != nil {
		t.Fatal(err)
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	counted := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if l.GetName() == "reason" && m.GetCounter().GetValue() > 0 {
					counted[l.GetValue()] += m.GetCounter().GetValue()
				}
			}
		}
	}
	if want := map[string]float64{"granted": 1, "scope_missing": 2, "forwarding_refused": 1}; !maps.Equal(counted, want) {
		t.Errorf("counted %v, want %v", counted, want)
	}
}

// TestHTTP_AKeyThatStaysIsRefused: forward-auth can't make the proxy remove such a key.
// The log line describes what to do, without the key itself.
func TestHTTP_AKeyThatStaysIsRefused(t *testing.T) {
	a, texts := decider(t)
	key := texts["good"]
	var log bytes.Buffer
	s, err := New(Config{Checker: a, Logger: slog.New(slog.NewJSONHandler(&log, nil)), Registerer: prometheus.NewRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	for endpoint, removes := range map[string]bool{"/check": true, "/auth/nginx": false, "/auth/nginx-gateway-fabric": false, "/auth/caddy": false, "/auth/traefik": false} {
		ask := func(target, name, value string) *httptest.ResponseRecorder {
			r := httptest.NewRequest(http.MethodGet, "/x", nil)
			r.RequestURI = endpoint
			if removes {
				r.RequestURI += target
			}
			r.RemoteAddr, r.Host = "127.0.0.1:1", "h"
			switch r.Header = (http.Header{}); {
			case endpoint == "/auth/nginx":
				r.Header = http.Header{"X-Original-Method": {"GET"}, "X-Original-Uri": {target}}
			case endpoint == "/auth/nginx-gateway-fabric":
				r.Header = http.Header{"Method": {"GET"}, "Path": {target}}
			case !removes:
				r.Header = http.Header{"X-Forwarded-Method": {"GET"}, "X-Forwarded-Uri": {target}, "X-Forwarded-Host": {"h"}}
			}
			if name != "" {
				r.Header.Set(name, value)
			}
			w := httptest.NewRecorder()
			NewHTTPServer(HTTPConfig{}, s).Handler.ServeHTTP(w, r)
			return w
		}
		for name, value := range map[string]string{"Referer": "https://a/?k=" + key, "X-Debug": key, "Cookie": "a=" + key + "; b=1", "Proxy-Authorization": "Token " + key} {
			w := ask("/public/a", name, value)
			if !removes {
				if w.Code != http.StatusForbidden || !strings.Contains(w.Body.String(), "forwarding_refused") {
					t.Errorf("%s, %s: got %d %s", endpoint, name, w.Code, w.Body)
				}
				continue
			}
			gone := strings.Contains(w.Header().Get(removalsHeader), strings.ToLower(name)) || name == "Cookie" && w.Header().Get("cookie") == "b=1"
			if w.Code != http.StatusOK || !gone {
				t.Errorf("%s, %s: got %d %v", endpoint, name, w.Code, w.Header())
			}
		}
		if w := ask("/public/a?x=1&k="+key, "", ""); w.Code != http.StatusForbidden {
			t.Errorf("%s, query: got %d", endpoint, w.Code)
		}
		for target, header := range map[string]string{"/public/a": "", "/orders/1": "x-api-key", "/orders/2?api_key=" + key: ""} {
			if w := ask(target, header, key); w.Code != http.StatusOK {
				t.Errorf("%s, %s: got %d %s", endpoint, header, w.Code, w.Body)
			}
		}
		for _, value := range []string{"Token " + key, "Bearer\t" + key, key, "Basic " + base64.StdEncoding.EncodeToString([]byte(key+":"))} {
			if w := ask("/public/a", "Authorization", value); w.Code != http.StatusOK || removes && !strings.Contains(w.Header().Get(removalsHeader), "authorization") {
				t.Errorf("%s, %.8s: got %d %v", endpoint, value, w.Code, w.Header())
			}
		}
	}
	if text := log.String(); strings.Contains(text, key) || !strings.Contains(text, `"key_in":"header referer"`) || !strings.Contains(text, "identity.forward_credential") {
		t.Errorf("logged is %s", text)
	}
}
