package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"extauthz/e2e/parts"
)

// envoyOf is the configuration of Envoy by a gateway that is built on it, according to
// the source of a release (docs/gateways.md names it). It lacks what our own
// configuration lets Envoy remove, refuse and repair. The gateways that can be built are
// also run (make e2e-kube); this test sends the service what all of them send.
type envoyOf struct {
	manager string   // fields of the connection manager, as YAML
	filter  string   // the ext_authz filter, as YAML
	http    bool     // calls the service over HTTP
	bare    bool     // the headers of a denial are lost (Envoy 1.37.0 over HTTP)
	onError int      // the client's status if the service gives no answer
	passes  []string // headers that a client made up and that stay
}

const managerDefaults = "use_remote_address: true\n"

var envoysOf = map[string]envoyOf{
	"contour": {onError: 403, manager: managerDefaults + "normalize_path: true\nmerge_slashes: true\nhttp_protocol_options: {accept_http_10: true}\npreserve_external_request_id: true\n", filter: `
grpc_service: {envoy_grpc: {cluster_name: extauthz, authority: extension.extauthz.extauthz}, timeout: 0.25s}
clear_route_cache: true
status_on_error: {code: Forbidden}
include_peer_certificate: true
transport_api_version: V3`},
	"kgateway": {onError: 503, manager: managerDefaults + "normalize_path: true\nmerge_slashes: true\n", filter: `
grpc_service: {envoy_grpc: {cluster_name: extauthz}, timeout: 0.25s}
status_on_error: {code: ServiceUnavailable}
filter_enabled_metadata: {filter: dev.kgateway.disable_ext_auth, invert: true, path: [{key: disable}], value: {bool_match: true}}
transport_api_version: V3`},
	"cilium": {onError: 403, passes: []string{"x-envoy-auth-failure-mode-allowed"}, manager: managerDefaults + "upgrade_configs: [{upgrade_type: websocket}]\ncommon_http_protocol_options: {max_stream_duration: 0s}\n", filter: `
grpc_service: {envoy_grpc: {cluster_name: extauthz, authority: "extauthz:9001"}}
decoder_header_mutation_rules: {disallow_expression: {regex: "^(:authority|host)$"}}
transport_api_version: V3`},
	"emissary": {onError: 503, manager: managerDefaults + "normalize_path: true\n", filter: `
grpc_service: {envoy_grpc: {cluster_name: extauthz}, timeout: 0.250s}
clear_route_cache: true
failure_mode_allow: false
status_on_error: {code: 503}
transport_api_version: V3`},
	"consul": {onError: 503, manager: "normalize_path: true\n", filter: `
stat_prefix: response
grpc_service: {envoy_grpc: {cluster_name: extauthz}, timeout: 0.25s}
failure_mode_allow: false
status_on_error: {code: 503}
transport_api_version: V3`},
}

// overHTTP is Cilium's filter for protocol HTTP, with the lists of a printed route.
func overHTTP(t *testing.T, s *stack) envoyOf {
	t.Helper()
	var route printedRoute
	if err := yaml.Unmarshal([]byte(s.Must("envoy", "cilium", "--http")), &route); err != nil {
		t.Fatal(err)
	}
	http := route.Spec.Rules[0].Filters[0].ExternalAuth.HTTP
	exactly := func(names []string) string {
		return `{patterns: [{exact: "` + strings.Join(names, `"}, {exact: "`) + `"}]}`
	}
	return envoyOf{http: true, onError: 403, passes: envoysOf["cilium"].passes, manager: envoysOf["cilium"].manager, filter: `
http_service:
  server_uri: {uri: "http://extauthz:9002", cluster: extauthz, timeout: 10s}
  path_prefix: ` + http.Path + `
  authorization_response: {allowed_upstream_headers: ` + exactly(http.AllowedResponseHeaders) + `}
decoder_header_mutation_rules: {disallow_expression: {regex: "^(:authority|host)$"}}
allowed_headers: ` + exactly(http.AllowedHeaders)}
}

// as replaces our settings in a printed configuration by the gateway's.
func (e envoyOf) as(t *testing.T, bootstrap string) string {
	t.Helper()
	var whole, manager, filter map[string]any
	for text, into := range map[string]*map[string]any{bootstrap: &whole, e.manager: &manager, e.filter: &filter} {
		if err := yaml.Unmarshal([]byte(text), into); err != nil {
			t.Fatalf("%v in\n%s", err, text)
		}
	}
	resources := whole["static_resources"].(map[string]any)
	listener := resources["listeners"].([]any)[0].(map[string]any)
	ours := listener["filter_chains"].([]any)[0].(map[string]any)["filters"].([]any)[0].(map[string]any)["typed_config"].(map[string]any)
	for _, name := range []string{"use_remote_address", "normalize_path", "merge_slashes", "path_with_escaped_slashes_action", "common_http_protocol_options"} {
		delete(ours, name)
	}
	for name, value := range manager {
		ours[name] = value
	}
	filters := ours["http_filters"].([]any)
	filter["@type"] = "type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz"
	ours["http_filters"] = []any{map[string]any{"name": "envoy.filters.http.ext_authz", "typed_config": filter}, filters[len(filters)-1]}
	if e.http { // the cluster speaks HTTP/2 for gRPC
		for _, c := range resources["clusters"].([]any) {
			if c := c.(map[string]any); c["name"] == "extauthz" {
				delete(c, "typed_extension_protocol_options")
				delete(c, "health_checks")
			}
		}
	}
	text, err := yaml.Marshal(whole)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

const gatewaysPolicy = `
default_route: map
routes: [{match: /healthz, anonymous: true}]
credentials: [{header: x-api-key}, {header: authorization, scheme: Bearer}, {query: api_key}]
`

// TestEnvoysOfGateways_ServeWhatWasDecided: if the gateway does not remove what a client
// may not send on, the service does.
func TestEnvoysOfGateways_ServeWhatWasDecided(t *testing.T) {
	onEach(t, func(t *testing.T, version string) {
		for _, name := range []string{"contour", "kgateway", "cilium", "cilium over HTTP", "emissary", "consul"} {
			t.Run(name, func(t *testing.T) {
				s := &stack{Service: parts.StartService(t, gatewaysPolicy), t: t, upstream: parts.StartUpstream(t)}
				e, service := envoysOf[name], s.GRPC
				if name == "cilium over HTTP" {
					e, service = overHTTP(t, s), s.HTTP
				}
				admin := freePort(t)
				s.gateway = fmt.Sprintf("127.0.0.1:%d", freePort(t))
				bootstrap := s.Must("envoy", "bootstrap", "--upstream", s.upstream.Address, "--listen", s.gateway, "--service", service, "--admin", fmt.Sprintf("127.0.0.1:%d", admin))
				parts.StartEnvoy(t, version, e.as(t, bootstrap), admin)
				e.bare = e.http && version == "1.37.0"
				s.servesWhatWasDecided(t, e)
			})
		}
	})
}

func (s *stack) servesWhatWasDecided(t *testing.T, e envoyOf) {
	t.Helper()
	k := s.NewKey("--scope", "orders:read")
	key := "x-api-key: " + k.Key
	made := []string{"x-auth-user-id: made-up", "x-auth-key-id: made-up", "x-original-url: /made-up", "x-http-method-override: made-up", "x-forwarded-prefix: /made-up", "script-name: /made-up", "x-envoy-auth-failure-mode-allowed: made-up"}
	if !e.http { // over HTTP the filter sends only listed headers
		made = append(made, "x-auth-admin: made-up", "x_auth_user_id: made-up", "x.auth.user.id: made-up", "x_original_url: /made-up")
	}
	checkMade := func(a answer) {
		t.Helper()
		for line := range strings.SplitSeq(a.body, "\r\n") {
			name, _, _ := strings.Cut(strings.ToLower(line), ":")
			if strings.Contains(line, "made-up") && !slices.Contains(e.passes, name) {
				t.Errorf("the upstream got what the client made up: %s", line)
			}
		}
	}

	a := s.ask("GET", "/orders/1?x=/../&flag", append([]string{key, "x-other: stays"}, made...)...)
	s.allowed(a)
	checkMade(a)
	if !strings.HasPrefix(a.body, "GET /orders/1?x=/../&flag HTTP/1.1\r\n") || len(a.lines("x-other")) != 1 || strings.Contains(a.body, k.Key) {
		t.Errorf("the request was changed, or holds the key: %s", a.body)
	}
	for name, want := range map[string]string{"x-auth-user-id": "alice", "x-auth-key-id": k.ID, "x-auth-scopes": "orders:read"} {
		if got := a.lines(name); len(got) != 1 || got[0] != want {
			t.Errorf("%s reached the upstream as %q", name, got)
		}
	}
	a = s.ask("GET", "/healthz", made...)
	s.allowed(a)
	checkMade(a)
	if !e.http { // over HTTP nothing can change the target
		a = s.ask("GET", "/orders?a=b&api_key="+k.Key+"&c")
		s.allowed(a)
		if !strings.HasPrefix(a.body, "GET /orders?a=b&c HTTP/1.1\r\n") || strings.Contains(a.body, k.Key) {
			t.Errorf("the key's parameter reached the upstream: %s", a.body)
		}
	}

	refused := s.ask("GET", "/orders")
	s.denied(refused, 401, "missing_key")
	if refused.header.Get("www-authenticate") == "" || refused.header.Get("content-type") != "application/problem+json" {
		if !e.bare {
			t.Errorf("a denial has the headers %v", refused.header)
		}
	}
	s.denied(s.ask("GET", "/orders", "x-api-key: "+forged(t, "ak_live_00000000_")), 401, "invalid_key")
	s.denied(s.ask("GET", "/orders", key, key), 401, "ambiguous_credential")
	s.denied(s.ask("POST", "/orders", key, "content-length: 0"), 403, "scope_missing")
	revoked := s.NewKey("--scope", "orders:read")
	s.allowed(s.ask("GET", "/orders", "x-api-key: "+revoked.Key))
	s.Must("keys", "revoke", revoked.ID)
	s.denied(s.ask("GET", "/orders", "x-api-key: "+revoked.Key), 401, "key_revoked")
	for _, ambiguous := range []string{"/healthz/../orders", "/healthz/%2e%2e/orders", "/healthz%2f..%2forders", "//orders", "/healthz/..;/orders", `/healthz\..\orders`, "/orders%2f..%2fhealthz"} {
		if a := s.ask("GET", ambiguous); a.reached && !strings.HasPrefix(a.body, "GET /healthz ") {
			t.Errorf("%s reached the upstream as %s", ambiguous, a.body)
		}
	}

	s.Kill()
	if a := s.ask("GET", "/orders", key); a.status != e.onError || a.reached {
		t.Errorf("with the service gone: %d, upstream reached: %v, want %d", a.status, a.reached, e.onError)
	}
}
