package main

import (
	"bytes"
	"os"
	"strings"
	"testing"
)

// printed runs a command and returns what it writes to standard output.
func printed(t *testing.T, args ...string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	root := newRoot()
	root.SetOut(&out)
	root.SetErr(&bytes.Buffer{})
	root.SetArgs(args)
	err := root.Execute()
	return out.String(), err
}

// TestExamples_AreWhatTheCommandsPrint: the tests of the examples (make e2e-kube) thus
// hold for the commands' output too.
func TestExamples_AreWhatTheCommandsPrint(t *testing.T) {
	const examples = "../../envoy/examples/"
	for name, args := range map[string]string{
		"istio/mesh.yaml":           "istio --mesh",
		"istio/gateway.yaml":        "istio",
		"istio/sidecar.yaml":        "istio --sidecar --namespace shop --selector app=orders",
		"envoy-gateway/policy.yaml": "gateway",
	} {
		want, err := os.ReadFile(examples + name)
		if err != nil {
			t.Fatal(err)
		}
		platform, _, _ := strings.Cut(name, "/")
		got, err := printed(t, append([]string{"--config", examples + platform + "/extauthz.yaml", "envoy"}, strings.Fields(args)...)...)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if got != string(want) {
			t.Errorf("%s is not what `extauthz envoy %s` prints; print it anew:\n%s", name, args, got)
		}
	}
}

func TestPlatformObjects_AreForTheLoadedConfiguration(t *testing.T) {
	file := t.TempDir() + "/extauthz.yaml"
	if err := os.WriteFile(file, []byte("identity: {header_prefix: x-id-}\ncredentials: [{header: x-key}, {cookie: session}]\nclient_address: {trusted_hops: 1}\nheaders: {keep_overrides: [X-Forwarded-Prefix]}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for command, holds := range map[string][]string{
		"istio":   {`{regex: '^x[[:punct:]]id[[:punct:]].*'}`},
		"gateway": {`{type: RegularExpression, value: '^x[[:punct:]]id[[:punct:]].*'}`, "headersToExtAuth: [content-type, cookie, x-forwarded-for, x-key, x-request-id]"},
	} {
		text, err := printed(t, "--config", file, "envoy", command, "--service", "auth/keys:9443")
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(text, "punct:]]prefix") || !strings.Contains(text, "forwarded[[:punct:]]host") {
			t.Errorf("`envoy %s` does not keep x-forwarded-prefix alone:\n%s", command, text)
		}
		for _, want := range holds {
			if !strings.Contains(text, want) {
				t.Errorf("`envoy %s` does not print %s:\n%s", command, want, text)
			}
		}
	}
}

// TestEnvoyCommands_PathHandlingFollowsTheRules: the printed gateway does not refuse
// paths that a rule with encoded: allow accepts.
func TestEnvoyCommands_PathHandlingFollowsTheRules(t *testing.T) {
	file := t.TempDir() + "/extauthz.yaml"
	for configuration, words := range map[string]map[string]string{
		"{}": {"bootstrap": "path_with_escaped_slashes_action: REJECT_REQUEST", "istio": "path_with_escaped_slashes_action: REJECT_REQUEST", "gateway": "path: {escapedSlashesAction: RejectRequest}",
			"bootstrap --raw-paths": "normalize_path: false\n                merge_slashes: false\n                path_with_escaped_slashes_action: KEEP_UNCHANGED",
			"istio --raw-paths":     "normalize_path: false", "gateway --raw-paths": "path: {escapedSlashesAction: KeepUnchanged, disableMergeSlashes: true}"},
		"{routes: [{match: '/a/{id}', resource: a, encoded: allow}]}": {"bootstrap": "normalize_path: true\n                merge_slashes: true\n                path_with_escaped_slashes_action: KEEP_UNCHANGED",
			"istio": "path_with_escaped_slashes_action: KEEP_UNCHANGED", "gateway": "path: {escapedSlashesAction: KeepUnchanged}"},
	} {
		if err := os.WriteFile(file, []byte(configuration), 0o600); err != nil {
			t.Fatal(err)
		}
		for command, want := range words {
			args := append([]string{"--config", file, "envoy"}, strings.Fields(command)...)
			if strings.HasPrefix(command, "bootstrap") {
				args = append(args, "--upstream", "127.0.0.1:8080")
			}
			if text, err := printed(t, args...); err != nil || !strings.Contains(text, want) {
				t.Errorf("%s: `envoy %s` does not print %s: %v\n%s", configuration, command, want, err, text)
			}
		}
	}
}

// TestPrintedConfigurations_NameTheHostsOfRules: they do so if every rule names a host.
func TestPrintedConfigurations_NameTheHostsOfRules(t *testing.T) {
	folder := t.TempDir()
	document := folder + "/shop.yaml"
	if err := os.WriteFile(document, []byte(`{openapi: 3.1.0, info: {title: Shop, version: "1"}, servers: [{url: "https://Shop.example.com:8443/v1"}],
components: {securitySchemes: {key: {type: apiKey, in: header, name: X-API-Key}}}, paths: {/pay: {delete: {security: [{key: ["pay:purge"]}]}}}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	const all, closing = `domains: ["*"]`, "strip_trailing_host_dot: true"
	for settings, want := range map[string]string{
		"":                                     all,
		"openapi: {files: [" + document + "]}": `domains: ["shop.example.com"]`,
		"openapi: {files: [" + document + "]}\nroutes: [{match: 'B.example.com/', resource: b}, {match: '[::1]/', anonymous: true}]": `domains: ["[::1]", "b.example.com", "shop.example.com"]`,
		"openapi: {files: [" + document + "]}\nroutes: [{match: '/healthz', anonymous: true}]":                                       all,
		"routes: [{match: a.example.com/, resource: a}]\ndefault_route: map":                                                         `domains: ["a.example.com"]`,
	} {
		file := folder + "/extauthz.yaml"
		if err := os.WriteFile(file, []byte(settings), 0o600); err != nil {
			t.Fatal(err)
		}
		text, err := printed(t, "--config", file, "envoy", "bootstrap", "--upstream", "127.0.0.1:8080")
		if err != nil || !strings.Contains(text, " "+want+"\n") || strings.Contains(text, closing) != (want != all) {
			t.Errorf("%s: %v: want %s in\n%s", settings, err, want, text)
		}
		for _, platform := range []string{"istio", "gateway"} {
			text, err := printed(t, "--config", file, "envoy", platform)
			if err != nil || strings.Contains(text, "alone, and it denies others") != (want != all) || strings.Contains(settings, "openapi") && want != all && !strings.Contains(text, "\n#   shop.example.com\n") {
				t.Errorf("%s: `envoy %s`: %v\n%s", settings, platform, err, text)
			}
		}
	}
}

func TestPlatformObjects_RefuseImpossibleNames(t *testing.T) {
	for _, args := range []string{
		"istio --service extauthz:9001", "istio --mesh --service a/b:0", "istio --service a/b:70000", "istio --selector ingressgateway", "istio --namespace Shop",
		"istio --name a.b", "gateway --gateway a/b", "gateway --namespace {}", "gateway --service a/B:1", "gateway --tls-name a.b", "gateway --tls-ca ca", "gateway --tls-ca ca --tls-name 1.2.3.4",
		"istio --selector a={}",
		"contour --gateway a/b", "contour --tls-name a.b", "kgateway --namespace {}", "kgateway --service a/B:1", "agentgateway --service b:1", "gateway-api --backend orders:80",
		"gateway-api --backend shop/orders:0", "cilium --tls-ca ca --tls-name 1.2.3.4", "nginx-gateway-fabric --backend {}/a:1", "emissary --service extauthz:9001", "consul --gateway Orders",
	} {
		if text, err := printed(t, append([]string{"envoy"}, strings.Fields(args)...)...); err == nil {
			t.Errorf("`envoy %s` printed %s", args, text)
		}
	}
	text, err := printed(t, "envoy", "istio", "--namespace", "123", "--selector", "on=1")
	if err != nil || !strings.Contains(text, `namespace: "123"`) || !strings.Contains(text, `{"on": "1"}`) {
		t.Errorf("words that YAML takes for something else: %v\n%s", err, text)
	}
}

// TestEnvoyCommands_ObjectsAreForTheLoadedConfiguration covers the gateways of
// docs/gateways.md.
func TestEnvoyCommands_ObjectsAreForTheLoadedConfiguration(t *testing.T) {
	file := t.TempDir() + "/extauthz.yaml"
	if err := os.WriteFile(file, []byte("identity: {header_prefix: x-id-, metadata_headers: [team]}\ncredentials: [{header: x-key}, {cookie: session}]\n"+
		"headers: {keep_overrides: [X-Original-Url, X-Http-Method-Override]}\nroutes: [{match: a.example.com/, resource: a}]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for command, c := range map[string]struct{ holds, lacks []string }{
		"contour":              {holds: []string{"services: [{name: keys, port: 9443}]", "name: extauthz, namespace: auth}", "failOpen: false", "responseTimeout: 250ms", "protocol: h2c"}},
		"kgateway":             {holds: []string{"{name: keys, namespace: auth, port: 9443}", "failOpen: false", "statusOnError: 503", "requestTimeout: 250ms", "x-id-user-id", "x-id-meta-team"}, lacks: []string{"x-original-url", "x-http-method-override", "x-auth-user-id"}},
		"agentgateway":         {holds: []string{"{name: keys, namespace: auth, port: 9443}", "x-original-uri"}, lacks: []string{"x-original-url"}},
		"gateway-api":          {holds: []string{"protocol: GRPC", "{name: keys, namespace: auth, port: 9443}", `hostnames: ["a.example.com"]`}, lacks: []string{"allowedHeaders: ["}},
		"gateway-api --http":   {holds: []string{"protocol: HTTP", "path: /check", "x-key", "cookie", "x-id-meta-team", "x-original-uri"}, lacks: []string{"authorization", "x-original-url", "x-http-method-override"}},
		"cilium":               {holds: []string{"protocol: GRPC", "{name: keys, namespace: auth, port: 9443}"}, lacks: []string{"allowedHeaders: ["}},
		"nginx-gateway-fabric": {holds: []string{"protocol: HTTP", "path: /auth/nginx-gateway-fabric", "remove: [x-key]"}, lacks: []string{"authorization", "x-original-url"}},
		"emissary":             {holds: []string{"auth_service: keys.auth:9443", "proto: grpc", "failure_mode_allow: false", "code: 503", "timeout_ms: 250"}},
		"consul":               {holds: []string{"service: {name: keys}", "required: true", "statusOnError: 503", "timeout: 250ms"}},
	} {
		text, err := printed(t, append([]string{"--config", file, "envoy"}, append(strings.Fields(command), "--service", "auth/keys:9443")...)...)
		if err != nil {
			t.Errorf("`envoy %s`: %v", command, err)
		}
		for _, want := range append(c.holds, "\n#   a.example.com\n") {
			if !strings.Contains(text, want) {
				t.Errorf("`envoy %s` does not print %s:\n%s", command, want, text)
			}
		}
		for _, line := range strings.Split(text, "\n") {
			for _, unwanted := range c.lacks {
				if !strings.HasPrefix(strings.TrimSpace(line), "#") && strings.Contains(line, unwanted) {
					t.Errorf("`envoy %s` prints %s", command, line)
				}
			}
		}
	}
}

// TestEnvoyCommands_ListenersThatNoGatewayReachesAreRefused: neither TLS on one side
// alone nor calls over HTTP without http.listen are printed.
func TestEnvoyCommands_ListenersThatNoGatewayReachesAreRefused(t *testing.T) {
	file := t.TempDir() + "/extauthz.yaml"
	if err := os.WriteFile(file, []byte("http: {listen: \"\"}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, command := range []string{"nginx-gateway-fabric", "gateway-api --http", "cilium --http"} {
		if text, err := printed(t, append([]string{"--config", file, "envoy"}, strings.Fields(command)...)...); err == nil || !strings.Contains(err.Error(), "http.listen") {
			t.Errorf("`envoy %s` without the listener: %v\n%s", command, err, text)
		}
	}
}
