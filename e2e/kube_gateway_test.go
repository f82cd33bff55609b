//go:build kube

package e2e

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"extauthz/e2e/parts"
)

func testEnvoyGateway(t *testing.T, k *parts.Kubernetes) {
	s := newPlatform(t, k, kubeExample(t, "envoy-gateway/extauthz.yaml"))
	k.Apply(kubeExample(t, "envoy-gateway/policy.yaml"))
	k.Apply(kubeExample(t, "envoy-gateway/routes.yaml"))
	parts.StartEnvoyGateway(t, k, "1.40.0")
	s.gateway = podAddress + ":80"
	s.decides(t, "/healthz")

	key := func(scopes ...string) string {
		var flags []string
		for _, scope := range scopes {
			flags = append(flags, "--scope", scope)
		}
		return "x-api-key: " + s.NewKey(flags...).Key
	}
	reader := key("orders:read")
	// Annotations set what the route needs, with an action of its own.
	s.allowed(s.ask("POST", "/search", reader, "content-length: 0"))
	s.denied(s.ask("GET", "/search", key("orders:create")), 403, "scope_missing")
	// Context extensions come from the policy of one route.
	s.allowed(s.ask("GET", "/reports/1", key("reports:create")))
	s.denied(s.ask("GET", "/reports/1", key("reports:read")), 403, "scope_missing")
	s.denied(s.ask("GET", "/reports/1"), 401, "missing_key")
	// A rule of the service takes precedence over them.
	s.denied(s.ask("DELETE", "/orders/1", key("orders:delete")), 403, "scope_missing")
	s.allowed(s.ask("DELETE", "/orders/1", key("archive:delete")))
	// A gateway without CORS does not answer preflights.
	s.denied(s.ask("OPTIONS", "/orders", "origin: https://app.example.com", "access-control-request-method: GET"), 401, "missing_key")
	if a := s.ask("GET", "/nowhere", reader); a.status != 404 || a.reached {
		t.Errorf("where no route is: %d, upstream reached: %v", a.status, a.reached)
	}
	s.denied(s.ask("GET", "/orders", reader, reader), 401, "ambiguous_credential")

	s.opensWithout(t, k)
	s.shutWithout(reader)
}

// opensWithout checks what the documents state about policies. A route's policy replaces
// the gateway's, and requests that are no longer checked have no identity. An invalid
// policy denies every request. With CORS in a policy, preflights are answered without a
// check.
func (s *stack) opensWithout(t *testing.T, k *parts.Kubernetes) {
	t.Helper()
	becomes := func(what string, status int, reached bool) {
		t.Helper()
		eventually(t, func() error {
			a := s.ask("GET", "/orders", "x-auth-user-id: root")
			if a.status != status || a.reached != reached || strings.Contains(a.body, "root") {
				return fmt.Errorf("%s: %d, upstream reached: %v, %s", what, a.status, a.reached, a.body)
			}
			return nil
		})
	}
	other := k.Apply(`
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: SecurityPolicy
metadata: {name: other, namespace: shop}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: orders}]
  cors: {allowOrigins: ["https://app.example.com"]}
`)
	becomes("with a policy of the route that does not ask", 200, true)
	k.Delete(other[0])
	becomes("without it", 401, false)
	k.Delete(parts.Object{APIVersion: "gateway.networking.k8s.io/v1beta1", Kind: "ReferenceGrant", Metadata: parts.Metadata{Name: "extauthz-gateways", Namespace: "extauthz"}})
	becomes("with a policy that is invalid", 500, false)
	k.Apply(kubeExample(t, "envoy-gateway/policy.yaml"))
	becomes("with its grant again", 401, false)

	k.Apply(strings.Replace(kubeExample(t, "envoy-gateway/policy.yaml"), "  extAuth:\n", "  cors: {allowOrigins: [\"https://app.example.com\"]}\n  extAuth:\n", 1))
	eventually(t, func() error {
		a := s.ask("OPTIONS", "/orders", "origin: https://app.example.com", "access-control-request-method: GET")
		if a.status != 200 || a.reached || a.header.Get("access-control-allow-origin") == "" {
			return fmt.Errorf("with CORS beside it a preflight gets %d %v, upstream reached: %v", a.status, a.header, a.reached)
		}
		return nil
	})
	becomes("with CORS beside it", 401, false)
}

// testEnvoyGatewayPrinted applies what `envoy gateway` prints for another configuration.
func testEnvoyGatewayPrinted(t *testing.T, k *parts.Kubernetes) {
	s := newPlatform(t, k, "identity: {header_prefix: x-id-}\ncredentials: [{header: x-key}]\nroutes: [{match: /healthz, anonymous: true}]\ndefault_route: map\n")
	k.Apply(s.Must("envoy", "gateway"))
	k.Apply(kubeExample(t, "envoy-gateway/routes.yaml"))
	parts.StartEnvoyGateway(t, k, "1.40.0")
	s.gateway = podAddress + ":80"
	key := "x-key: " + s.NewKey("--scope", "orders:read").Key
	s.awaits(key)
	s.renamed(key)
	// Annotations are ignored unless route_metadata is enabled.
	s.denied(s.ask("POST", "/search", key, "content-length: 0"), 403, "scope_missing")
}

// testEnvoyGatewayTLS: the service and Envoy verify each other's certificates, and
// requests are denied if the service's certificate has another name.
func testEnvoyGatewayTLS(t *testing.T, k *parts.Kubernetes) {
	authority := parts.NewAuthority(t)
	server, client := authority.Issue(t.TempDir(), "extauthz.extauthz.svc"), authority.Issue(t.TempDir(), "gateway")
	s := newPlatform(t, k, fmt.Sprintf("%sgrpc: {tls: {cert_file: %q, key_file: %q, client_ca_file: %q, allowed_sans: [gateway]}}\n",
		kubeExample(t, "envoy-gateway/extauthz.yaml"), server.CertFile, server.KeyFile, authority.CAFile))
	k.Apply(kept("ConfigMap", "extauthz", "authorities", map[string]string{"ca.crt": read(t, authority.CAFile)}))
	named := func(name string) []parts.Object {
		return k.Apply(s.Must("envoy", "gateway", "--tls-name", name, "--tls-ca", "authorities"))
	}
	applied := named("extauthz.extauthz.svc")
	k.Apply(kubeExample(t, "envoy-gateway/routes.yaml"))
	parts.StartEnvoyGateway(t, k, "1.40.0")
	s.gateway = podAddress + ":80"
	key := "x-api-key: " + s.NewKey("--scope", "orders:read").Key
	s.becomes(503, key) // it has no client certificate
	k.Apply(kept("Secret", "envoy-gateway-system", "client", map[string]string{"tls.crt": read(t, client.CertFile), "tls.key": read(t, client.KeyFile)}))
	k.Apply("apiVersion: gateway.envoyproxy.io/v1alpha1\nkind: EnvoyProxy\nmetadata: {name: tests, namespace: envoy-gateway-system}\n" +
		`spec: {provider: {type: Host, host: {envoyVersion: "1.40.0"}}, backendTLS: {clientCertificateRef: {kind: Secret, name: client}}}`)
	s.becomes(200, key)
	s.denied(s.ask("GET", "/orders"), 401, "missing_key")
	named("other.extauthz.svc")
	s.becomes(503, key)
	k.Delete(applied[len(applied)-1]) // the tests that follow use plain text
}

// kept returns a ConfigMap or a Secret.
func kept(kind, namespace, name string, files map[string]string) string {
	field := "data"
	if kind == "Secret" {
		field = "stringData"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "apiVersion: v1\nkind: %s\nmetadata: {name: %s, namespace: %s}\n%s:\n", kind, name, namespace, field)
	for file, content := range files {
		fmt.Fprintf(&b, "  %s: |\n    %s\n", file, strings.ReplaceAll(strings.TrimSpace(content), "\n", "\n    "))
	}
	return b.String()
}

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// testEnvoyGatewayRates: Envoy Gateway's rate-limit service enforces each key's own rate,
// over all routes together.
func testEnvoyGatewayRates(t *testing.T, k *parts.Kubernetes) {
	s := newPlatform(t, k, kubeExample(t, "envoy-gateway/extauthz.yaml")+"limits: {mode: envoy}\n")
	for _, name := range []string{"policy", "routes", "ratelimit"} {
		k.Apply(kubeExample(t, "envoy-gateway/"+name+".yaml"))
	}
	parts.StartEnvoyGatewayWithRates(t, k, "1.40.0", parts.StartRedis(t), parts.Metadata{Name: "api", Namespace: "gateways"})
	s.gateway = podAddress + ":80"
	free := "x-api-key: " + s.NewKey("--scope", "orders:read").Key
	s.awaits(free)
	few, more := s.NewKey("--scope", "orders:read", "--rate", "3/d"), s.NewKey("--scope", "orders:read", "--rate", "6/d")
	for header, want := range map[string]int{"x-api-key: " + few.Key: 3, "x-api-key: " + more.Key: 6, free: 10} {
		passed := 0
		for i := range 10 {
			method, path := "GET", "/orders"
			if i%2 == 1 {
				method, path = "POST", "/search"
			}
			if a := s.ask(method, path, header, "x-auth-key-id: other", "content-length: 0"); a.status == 200 {
				passed++
			} else if a.status != 429 || a.reached {
				t.Errorf("got %d %s", a.status, a.body)
			}
		}
		if passed != want {
			t.Errorf("%d of 10 passed, want %d", passed, want)
		}
	}
}
