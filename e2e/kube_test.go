//go:build kube

package e2e

import (
	"context"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"extauthz/e2e/parts"
)

// podAddress is the address of the pods of these tests: Kubernetes does not accept a
// loopback address for a pod.
const podAddress = "10.77.0.1"

// TestPlatforms: istiod and Envoy Gateway read the unchanged examples from a Kubernetes
// API, and a stock Envoy runs the result and calls the service.
func TestPlatforms(t *testing.T) {
	if testing.Short() {
		t.Skip("needs a Kubernetes API, istiod and Envoy Gateway")
	}
	if !parts.Isolated(t, podAddress) {
		return
	}
	k := parts.StartKubernetes(t)
	k.ApplyDefinitions("istio-crds.yaml")
	k.ApplyDefinitions("envoy-gateway-crds.yaml")
	// The chart's tests come first and remove their objects, since the others' objects
	// have the same names.
	t.Run("istio-chart", func(t *testing.T) { testIstioChart(t, k) })
	t.Run("envoy-gateway-chart", func(t *testing.T) { testEnvoyGatewayChart(t, k) })
	t.Run("istio-gateway", func(t *testing.T) { testIstioGateway(t, k) })
	t.Run("istio-sidecar", func(t *testing.T) { testIstioSidecar(t, k) })
	t.Run("istio-headless", func(t *testing.T) { testIstioHeadless(t, k) })
	t.Run("istio-printed", func(t *testing.T) { testIstioPrinted(t, k) })
	t.Run("envoy-gateway", func(t *testing.T) { testEnvoyGateway(t, k) })
	t.Run("envoy-gateway-printed", func(t *testing.T) { testEnvoyGatewayPrinted(t, k) })
	t.Run("envoy-gateway-tls", func(t *testing.T) { testEnvoyGatewayTLS(t, k) })
	t.Run("envoy-gateway-rates", func(t *testing.T) { testEnvoyGatewayRates(t, k) })
}

func kubeExample(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile("../envoy/examples/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// newPlatform starts the service and an upstream, and creates their objects in the API
// under the names that the examples use.
func newPlatform(t *testing.T, k *parts.Kubernetes, configuration string) *stack {
	t.Helper()
	s := newPlatformWithout(t, k)
	s.Service = parts.StartServiceOn(t, podAddress, configuration)
	k.Apply(pods("extauthz", "extauthz", "grpc", 9001, s.GRPC))
	return s
}

// newPlatformWithout is newPlatform without the service.
func newPlatformWithout(t *testing.T, k *parts.Kubernetes) *stack {
	t.Helper()
	upstream, stop, err := parts.ListenUpstream(podAddress + ":0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	for _, namespace := range []string{"extauthz", "shop", "istio-ingress", "gateways"} {
		k.Apply(fmt.Sprintf("apiVersion: v1\nkind: Namespace\nmetadata: {name: %s}\n", namespace))
	}
	k.Apply(pods("shop", "orders", "http", 80, upstream.Address))
	return &stack{t: t, upstream: upstream}
}

// pods returns a Service and the endpoint behind it.
func pods(namespace, name, protocol string, port int, address string) string {
	return fmt.Sprintf(`
apiVersion: v1
kind: Service
metadata: {name: %s, namespace: %s}
spec:
  ports: [{name: %s, port: %d, targetPort: %s}]
---
`, name, namespace, protocol, port, portNumber(address)) + endpoint(namespace, name, protocol, address)
}

// endpoint returns the endpoint behind a Service.
func endpoint(namespace, name, protocol, address string) string {
	return fmt.Sprintf(`
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: %[1]s, namespace: %[2]s, labels: {kubernetes.io/service-name: %[1]s}}
addressType: IPv4
ports: [{name: %[3]s, port: %[4]s}]
endpoints: [{addresses: [%[5]s], conditions: {ready: true}}]
`, name, namespace, protocol, portNumber(address), podAddress)
}

func portNumber(address string) string { return address[strings.LastIndexByte(address, ':')+1:] }

// decides checks what every platform has to do right, with keys that may read orders and
// a path that needs no key. It also checks that the gateway refuses names with
// underscores.
func (s *stack) decides(t *testing.T, open string) {
	t.Helper()
	s.decidesAnyNames(t, open)
	key := "x-api-key: " + s.NewKey("--scope", "orders:read").Key
	for _, name := range []string{"x_auth_user_id", "x-auth_admin"} {
		if a := s.ask("GET", "/orders", key, name+": root"); a.reached {
			s.t.Errorf("%s passed: %s", name, a.body)
		}
	}
}

// decidesAnyNames is decides for a gateway that passes on names with underscores: there
// the service removes them.
func (s *stack) decidesAnyNames(t *testing.T, open string) {
	t.Helper()
	k := s.NewKey("--scope", "orders:read")
	key := "x-api-key: " + k.Key
	s.awaits(key)
	a := s.ask("GET", "/orders/1?x=/../&flag", key, "x-other: stays", "x-auth-user-id: root", "x-auth-admin: root", "x-envoy-auth-failure-mode-allowed: root")
	s.allowed(a)
	if !strings.HasPrefix(a.body, "GET /orders/1?x=/../&flag HTTP/1.") || len(a.lines("x-other")) != 1 {
		s.t.Errorf("the request was changed: %s", a.body)
	}
	for name, want := range map[string]string{"x-auth-user-id": "alice", "x-auth-key-id": k.ID, "x-auth-scopes": "orders:read"} {
		if got := a.lines(name); len(got) != 1 || got[0] != want {
			s.t.Errorf("%s reached the upstream as %q", name, got)
		}
	}
	if strings.Contains(a.body, k.Key) || strings.Contains(a.body, "root") {
		s.t.Errorf("the key, or what the client made up, reached the upstream: %s", a.body)
	}
	if a := s.ask("GET", open, "x-auth-user-id: root", "x-auth-admin: root"); !a.reached || strings.Contains(a.body, "root") {
		s.t.Errorf("%s: reached: %v, %d %s", open, a.reached, a.status, a.body)
	}
	s.denied(s.ask("GET", "/orders"), 401, "missing_key")
	s.denied(s.ask("GET", "/orders", "x-api-key: "+forged(t, "ak_live_00000000_")), 401, "invalid_key")
	s.denied(s.ask("POST", "/orders", key, "content-length: 0"), 403, "scope_missing")
	revoked := s.NewKey("--scope", "orders:read")
	s.allowed(s.ask("GET", "/orders", "x-api-key: "+revoked.Key))
	s.Must("keys", "revoke", revoked.ID)
	s.denied(s.ask("GET", "/orders", "x-api-key: "+revoked.Key), 401, "key_revoked")
	for _, odd := range []string{"/orders/%2e%2e/healthz", "/orders%2f..%2fhealthz", "//healthz/../admin", "/orders/..;/admin", `/orders\..\admin`} {
		if a := s.ask("GET", odd, "x-auth-user-id: root"); a.reached && !strings.HasPrefix(a.body, "GET "+open+" ") {
			s.t.Errorf("%s reached the upstream as %s", odd, a.body)
		}
	}
	for _, name := range []string{"x_auth_user_id", "x-auth_admin", "x.auth.user.id"} {
		if a := s.ask("GET", "/orders", key, name+": root"); strings.Contains(a.body, "root") {
			s.t.Errorf("%s reached the upstream: %s", name, a.body)
		}
	}
}

// awaits waits until the platform has read its objects, and the gateway has the resulting
// configuration.
func (s *stack) awaits(header string) {
	s.t.Helper()
	s.becomes(200, header)
}

// becomes waits until a request gets a status.
func (s *stack) becomes(status int, header string) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := parts.Eventually(ctx, func() error {
		c, err := net.DialTimeout("tcp", s.gateway, time.Second)
		if err != nil {
			return err
		}
		_ = c.Close()
		if a := s.ask("GET", "/orders/1", header); a.status != status {
			return fmt.Errorf("got %d %s, want %d", a.status, a.body, status)
		}
		return nil
	}); err != nil {
		s.t.Fatal(err)
	}
}

// shutWithout ends the service and checks that requests are denied then, with the status
// that the examples set.
func (s *stack) shutWithout(header string) {
	s.t.Helper()
	s.shutWithoutAs(503, header)
}

// shutWithoutAs is shutWithout for a gateway whose status can't be set.
func (s *stack) shutWithoutAs(status int, header string) {
	s.t.Helper()
	s.Kill()
	for range 5 {
		if a := s.ask("GET", "/orders", header); a.status != status || a.reached {
			s.t.Errorf("with the service gone: %d, upstream reached: %v, %s", a.status, a.reached, a.body)
		}
	}
}
