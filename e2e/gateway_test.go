package e2e

import (
	"hash/crc32"
	"strings"
	"testing"
	"time"
)

// forged returns a whole key with a valid checksum and a secret that was never issued.
func forged(t *testing.T, head string) string {
	t.Helper()
	const base62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	body := head + strings.Repeat("0", 32)
	sum, n := make([]byte, 6), crc32.ChecksumIEEE([]byte(body))
	for i := 5; i >= 0; i-- {
		sum[i], n = base62[n%62], n/62
	}
	return body + string(sum)
}

const (
	normalisation   = "normalize_path: true\n                merge_slashes: true\n                path_with_escaped_slashes_action: REJECT_REQUEST"
	noNormalisation = "normalize_path: false"
)

func TestPaths_RefusedWithoutNormalisation(t *testing.T) {
	onEach(t, func(t *testing.T, version string) {
		for form, raw := range map[string]string{"raw headers": "true", "sanitised headers": "false"} {
			t.Run("17 "+form, func(t *testing.T) {
				s := newStack(t, version, ``, normalisation, noNormalisation, "encode_raw_headers: true", "encode_raw_headers: "+raw)
				key := "x-api-key: " + s.NewKey("--scope", "public:read").Key
				s.allowed(s.ask("GET", "/public/a", key))
				for _, path := range []string{"/public/../admin", "/public/..;x/admin", "/public//admin", `/public\..\admin`, "/public/%2e%2e/admin",
					"/public/%2fadmin", "/public/%5cadmin", "/public/%252e%252e/admin", "/public;a=b", "/%70ublic"} {
					if a := s.ask("GET", path, key); a.status != 400 || a.reached {
						t.Errorf("%s: got %d, upstream reached: %v", path, a.status, a.reached)
					}
				}
			})
		}
	})
}

func TestPaths_RepairedPathIsJudgedAndPassedOn(t *testing.T) {
	onEach(t, func(t *testing.T, version string) {
		s := newStack(t, version, `paths: {repair: true}`, normalisation, noNormalisation)
		key := "x-api-key: " + s.NewKey("--scope", "public:read").Key
		s.denied(s.ask("GET", "/public/../admin", key), 403, "scope_missing")
		a := s.ask("GET", "/admin/..//public/%61?x=/../", key)
		s.allowed(a)
		if !strings.HasPrefix(a.body, "GET /public/a?x=/../ HTTP/1.1\r\n") {
			t.Errorf("got %s", a.body)
		}
	})
}

func TestEnvoy_SendsNoCheckWhereNoRouteMatches(t *testing.T) {
	onEach(t, func(t *testing.T, version string) {
		s := newStack(t, version, ``, `domains: ["*"]`, `domains: ["only.example.com"]`)
		if a := s.ask("GET", "/orders"); a.status != 404 || a.reached { // 24
			t.Errorf("got %d, upstream reached: %v", a.status, a.reached)
		}
		if n := s.stat("cluster.extauthz.upstream_rq_total"); n != "0" {
			t.Errorf("the service was asked %s times", n)
		}
	})
}

func TestContextExtensions_ReplaceTheDefault(t *testing.T) { // 26
	onEach(t, func(t *testing.T, version string) {
		const route = "route: {cluster: upstream}"
		s := newStack(t, version, `routes: [{match: "/ruled", resource: strict, action: read}]`, route, route+`
                          typed_per_filter_config:
                            envoy.filters.http.ext_authz:
                              "@type": type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute
                              check_settings: {context_extensions: {resource: invoices, action: print}}`)
		key := "x-api-key: " + s.NewKey("--scope", "invoices:print").Key
		s.allowed(s.ask("GET", "/whatever", key))
		s.denied(s.ask("GET", "/ruled", key), 403, "scope_missing") // only if no rule matches
		s.denied(s.ask("GET", "/whatever", "x-api-key: "+s.NewKey("--scope", "whatever:read").Key), 403, "scope_missing")
	})
}

func TestFailureMode_DenialsStayDenials(t *testing.T) {
	onEach(t, func(t *testing.T, version string) {
		t.Run("28 30 fail open", func(t *testing.T) {
			s := newStack(t, version, ``, "failure_mode_allow: false", "failure_mode_allow: true")
			s.denied(s.ask("GET", "/orders"), 401, "missing_key") // 30
			s.denied(s.ask("GET", "/orders", "x-api-key: no key"), 401, "malformed_key")
			s.Kill()
			s.allowed(s.ask("GET", "/orders")) // the operator chose this
		})
		t.Run("28 fail closed", func(t *testing.T) {
			s := newStack(t, version, ``)
			s.Kill()
			if a := s.ask("GET", "/orders"); a.status != 503 || a.reached {
				t.Errorf("got %d, upstream reached: %v", a.status, a.reached)
			}
		})
	})
}

// TestGRPC_KeepalivePingsDoNotEndConnections: Envoy pings more often here than the
// bootstrap configures, on an idle connection. By grpc-go's default policy the third ping
// would end the connection.
func TestGRPC_KeepalivePingsDoNotEndConnections(t *testing.T) { // 40
	onEach(t, func(t *testing.T, version string) {
		t.Parallel()
		s := newStack(t, version, ``, "connection_keepalive: {interval: 10s, timeout: 2s}", "connection_keepalive: {interval: 1.5s, timeout: 1s}")
		s.denied(s.ask("GET", "/orders"), 401, "missing_key")
		<-time.After(9 * time.Second) // six pings; only time has to pass
		s.denied(s.ask("GET", "/orders"), 401, "missing_key")
		for _, name := range []string{"upstream_cx_close_notify", "upstream_cx_destroy_remote", "http2.keepalive_timeout"} {
			if n := s.stat("cluster.extauthz." + name); n != "0" {
				t.Errorf("%s is %q", name, n)
			}
		}
	})
}
