package e2e

import (
	"strings"
	"testing"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
)

const rawHeaders = "encode_raw_headers: true"

// TestContract_EnvoyRequests tests the statements of docs/envoy-contract.md about
// CheckRequest on a real Envoy, in both header forms.
func TestContract_EnvoyRequests(t *testing.T) {
	onEach(t, func(t *testing.T, version string) {
		raw, rawServer, _ := gateway(t, version)
		plain, plainServer, _ := gateway(t, version, rawHeaders, "encode_raw_headers: false")
		ask := func(t *testing.T, s *stack, server *scripted, method, target string, headers ...string) *authv3.AttributeContext_HttpRequest {
			t.Helper()
			s.on(t).ask(method, target, headers...)
			r := server.last()
			if r == nil {
				t.Fatal("no check was sent")
			}
			return r.GetAttributes().GetRequest().GetHttp()
		}
		t.Run("the plain form joins, sanitises and holds pseudo-headers", func(t *testing.T) {
			h := ask(t, plain, plainServer, "GET", "/x?q=1", "X-Api-Key: a", "x-api-key: b", "x-bytes: \xff\xfe", "x-comma: a, b")
			if got := h.GetHeaders(); got["x-api-key"] != "a,b" || got["x-bytes"] != "!!" || got["x-comma"] != "a, b" || got[":method"] != "GET" || got[":authority"] != "api.example.com" {
				t.Errorf("got %v", got)
			}
			if len(h.GetHeaderMap().GetHeaders()) > 0 {
				t.Error("both forms are filled")
			}
		})
		t.Run("the raw form keeps lines apart and bytes as they are", func(t *testing.T) {
			h := ask(t, raw, rawServer, "GET", "/x", "X-Api-Key: a", "x-api-key: b", "x-bytes: \xff\xfe")
			values := map[string][]string{}
			for _, line := range h.GetHeaderMap().GetHeaders() {
				if line.GetValue() != "" {
					t.Errorf("%s is in value", line.GetKey())
				}
				values[line.GetKey()] = append(values[line.GetKey()], string(line.GetRawValue()))
			}
			if got := strings.Join(values["x-api-key"], "|"); got != "a|b" || strings.Join(values["x-bytes"], "") != "\xff\xfe" || len(h.GetHeaders()) > 0 {
				t.Errorf("got %v", values)
			}
		})
		t.Run("the path holds the query, and there is no fragment", func(t *testing.T) {
			h := ask(t, raw, rawServer, "GET", "/x?a=%20b&c")
			if h.GetPath() != "/x?a=%20b&c" || h.GetQuery() != "" || h.GetFragment() != "" || h.GetMethod() != "GET" || h.GetHost() != "api.example.com" {
				t.Errorf("got %v", h)
			}
		})
		t.Run("id is the stream's and x-request-id a header of its own", func(t *testing.T) {
			h := ask(t, plain, plainServer, "GET", "/x")
			if id := h.GetHeaders()["x-request-id"]; id == "" || h.GetId() == id {
				t.Errorf("id %q, x-request-id %q", h.GetId(), id)
			}
		})
		t.Run("the path is asked about as the upstream gets it", func(t *testing.T) {
			for _, c := range []struct{ sent, passed string }{
				{"/a/../b", "/b"}, {"/a/./b", "/a/b"}, {"//a///b", "/a/b"}, {"/a//..//admin", "/a/admin"}, {`/a\b`, "/a/b"}, {"/%61", "/a"},
				{"/a%252eb", "/a%252eb"}, {"/a;x=1/b", "/a;x=1/b"}, {"/A/b", "/A/b"},
			} {
				h := ask(t, raw, rawServer, "GET", c.sent)
				if h.GetPath() != c.passed {
					t.Errorf("%s is asked about as %s, want %s", c.sent, h.GetPath(), c.passed)
				}
			}
			for _, sent := range []string{"/a%00b", "/a%2fb", "/a%5cb", "/a#f"} {
				if a := raw.on(t).ask("GET", sent); a.status != 400 || a.reached || rawServer.last() != nil {
					t.Errorf("%s: %d", sent, a.status)
				}
			}
			h := ask(t, raw, rawServer, "GET", "/a/..;x/admin")
			want := "/a/..;x/admin"
			if version == "1.40.0" {
				want = "/admin"
			}
			if h.GetPath() != want {
				t.Errorf("/a/..;x/admin is asked about as %s, want %s", h.GetPath(), want)
			}
		})
		t.Run("names with an underscore are refused", func(t *testing.T) {
			if a := raw.on(t).ask("GET", "/x", "x_api_key: a"); a.status != 400 || a.reached {
				t.Errorf("%d", a.status)
			}
		})
		t.Run("a route that skips the check passes no identity on", func(t *testing.T) {
			const last = `                        - match: {prefix: "/"}`
			s, server, _ := gateway(t, version, last, `                        - match: {prefix: "/free"}
                          route: {cluster: upstream}
                          typed_per_filter_config:
                            envoy.filters.http.ext_authz:
                              "@type": type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute
                              disabled: true
`+last)
			a := s.ask("GET", "/free", "x-auth-user-id: root", "X-Auth-Key-Id: 1", "x-envoy-auth-failure-mode-allowed: true")
			if !a.reached || server.last() != nil || strings.Contains(strings.ToLower(a.body), "x-auth-") || strings.Contains(a.body, "failure-mode") {
				t.Errorf("got %s", a.body)
			}
		})
		t.Run("allowed_headers hide the rest, and what is hidden is removed by name all the same", func(t *testing.T) {
			s, server, _ := gateway(t, version, rawHeaders, rawHeaders+"\n                      allowed_headers: {patterns: [{exact: x-api-key}]}",
				"regex: '^x[[:punct:]]auth", "regex: '^x[[:punct:]]nothing")
			server.will(allowed(&authv3.OkHttpResponse{HeadersToRemove: []string{"x-auth-user-id"}}), nil)
			a := s.ask("GET", "/x", "x-api-key: k", "x-other: o", "x-auth-user-id: root")
			names := ""
			for _, line := range server.last().GetAttributes().GetRequest().GetHttp().GetHeaderMap().GetHeaders() {
				names += line.GetKey() + " "
			}
			if !strings.Contains(names, "x-api-key ") || strings.Contains(names, "x-other") || strings.Contains(names, "x-auth-user-id") || strings.Contains(a.body, "root") {
				t.Errorf("asked with %s; the upstream got %s", names, a.body)
			}
		})
	})
}
