package e2e

import (
	"fmt"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"extauthz/e2e/parts"
)

// printedRoute has the fields from which NGINX Gateway Fabric and Cilium derive their
// configurations.
type printedRoute struct {
	Spec struct {
		Rules []struct {
			Filters []struct {
				ExternalAuth struct {
					HTTP struct {
						Path                   string
						AllowedHeaders         []string `yaml:"allowedHeaders"`
						AllowedResponseHeaders []string `yaml:"allowedResponseHeaders"`
					}
				} `yaml:"externalAuth"`
				RequestHeaderModifier struct{ Remove []string } `yaml:"requestHeaderModifier"`
			}
		}
	}
}

// nginxOf returns the nginx configuration of a printed route: auth_request with the
// headers that NGINX Gateway Fabric sets for it (its pull request 5145), the listed
// headers of the client and of the answer, and empty values for removed ones. all: the
// client's other headers are passed to the service as well, which the pull request does
// not show.
func nginxOf(t *testing.T, printed, service, upstream string, port int, all bool) string {
	t.Helper()
	var route printedRoute
	if err := yaml.Unmarshal([]byte(printed), &route); err != nil {
		t.Fatal(err)
	}
	var asked, set, served strings.Builder
	variable := func(name string) string { return strings.ReplaceAll(strings.ToLower(name), "-", "_") }
	for _, f := range route.Spec.Rules[0].Filters {
		for _, name := range f.ExternalAuth.HTTP.AllowedHeaders {
			fmt.Fprintf(&asked, "proxy_set_header %s \"$http_%s\";\n", name, variable(name))
		}
		for _, name := range f.ExternalAuth.HTTP.AllowedResponseHeaders {
			fmt.Fprintf(&set, "auth_request_set $auth_%s $upstream_http_%s;\n", variable(name), variable(name))
			fmt.Fprintf(&served, "proxy_set_header %s \"$auth_%s\";\n", name, variable(name))
		}
		for _, name := range f.RequestHeaderModifier.Remove {
			fmt.Fprintf(&served, "proxy_set_header %s \"\";\n", name)
		}
	}
	only := "proxy_pass_request_headers off;"
	if all {
		only = ""
	}
	return fmt.Sprintf(`
error_log stderr warn;
events {}
http {
  access_log off;
  server {
    listen 127.0.0.1:%d;
    location = /_auth {
      internal;
      %s
      proxy_pass_request_body off;
      proxy_set_header Host "$host";
      proxy_set_header Path "$request_uri";
      proxy_set_header Method "$request_method";
      proxy_set_header Authorization "$http_authorization";
      proxy_set_header Content-Length "";
      %s
      proxy_pass http://%s%s;
    }
    location / {
      auth_request /_auth;
      %s
      proxy_set_header Host "$host";
      %s
      proxy_pass http://%s$request_uri;
    }
  }
}
`, port, only, asked.String(), service, route.Spec.Rules[0].Filters[0].ExternalAuth.HTTP.Path, set.String(), served.String(), upstream)
}

// TestNGINXGatewayFabric_ServesWhatWasDecided runs the nginx configuration of a printed
// route.
func TestNGINXGatewayFabric_ServesWhatWasDecided(t *testing.T) {
	if testing.Short() {
		t.Skip("needs nginx")
	}
	for name, all := range map[string]bool{"listed headers alone": false, "all headers": true} {
		t.Run(name, func(t *testing.T) {
			s := &stack{Service: parts.StartService(t, `{default_route: map, routes: [{match: /healthz, anonymous: true}]}`), t: t, upstream: parts.StartUpstream(t)}
			port := freePort(t)
			s.gateway = fmt.Sprintf("127.0.0.1:%d", port)
			parts.StartNginx(t, nginxOf(t, s.Must("envoy", "nginx-gateway-fabric"), s.HTTP, s.upstream.Address, port, all), port)

			k := s.NewKey("--scope", "orders:read")
			key := "x-api-key: " + k.Key
			refused := func(a answer, status int) {
				t.Helper()
				if a.status != status || a.reached {
					t.Errorf("got %d, upstream reached: %v, want %d", a.status, a.reached, status)
				}
			}
			s.allowed(s.ask("GET", "/orders", "authorization: Bearer "+k.Key)) // sent once
			a := s.ask("GET", "/orders/1?x=/../&flag", key, "x-other: stays", "x-auth-user-id: root", "x-auth-project: root", "x_auth_user_id: root", "method: DELETE", "path: /healthz")
			s.allowed(a)
			if !strings.HasPrefix(a.body, "GET /orders/1?x=/../&flag HTTP/1.") || len(a.lines("x-other")) != 1 || strings.Contains(a.body, k.Key) || strings.Contains(a.body, "root") {
				t.Errorf("the request was changed, or holds what it must not: %s", a.body)
			}
			for name, want := range map[string]string{"x-auth-user-id": "alice", "x-auth-key-id": k.ID, "x-auth-scopes": "orders:read"} {
				if got := a.lines(name); len(got) != 1 || got[0] != want {
					t.Errorf("%s reached the upstream as %q", name, got)
				}
			}
			if a := s.ask("GET", "/healthz", "x-auth-user-id: root", "x-auth-scopes: root"); !a.reached || strings.Contains(a.body, "root") {
				t.Errorf("on an anonymous route: %d %s", a.status, a.body)
			}
			// The document names these as impossible.
			if a := s.ask("GET", "/orders", key, "x-auth-admin: root"); a.reached == all {
				t.Errorf("another name under the prefix: reached: %v", a.reached)
			}
			for _, override := range []string{"x-original-url: /admin", "x-http-method-override: DELETE", "x-forwarded-host: other.example.com", "script-name: /admin", "forwarded: host=other.example.com"} {
				refused(s.ask("GET", "/orders", key, override), 403)
			}
			refused(s.ask("GET", "/orders"), 401)
			refused(s.ask("GET", "/orders", "path: /healthz"), 401)
			refused(s.ask("GET", "/orders", "x-api-key: "+forged(t, "ak_live_00000000_")), 401)
			refused(s.ask("POST", "/orders", key, "content-length: 0"), 403)
			refused(s.ask("GET", "/orders?a="+k.Key, key), 403)
			for _, ambiguous := range []string{"/healthz/../orders", "/healthz/%2e%2e/orders", "//orders", "/healthz/..;/orders"} {
				refused(s.ask("GET", ambiguous, key), 403)
			}
			revoked := s.NewKey("--scope", "orders:read")
			s.allowed(s.ask("GET", "/orders", "x-api-key: "+revoked.Key))
			s.Must("keys", "revoke", revoked.ID)
			refused(s.ask("GET", "/orders", "x-api-key: "+revoked.Key), 401)
			s.Kill()
			refused(s.ask("GET", "/orders", key), 500)
		})
	}
}
