//go:build kube

package e2e

import (
	"fmt"
	"net"
	"strings"
	"testing"

	"extauthz/e2e/parts"
)

var ingress = parts.Workload{Kind: "router", Address: "10.255.0.1", Namespace: "istio-ingress", Label: "istio", Value: "ingressgateway"}

// startIngress runs an Istio ingress gateway in front of the stack.
func (s *stack) startIngress(t *testing.T, k *parts.Kubernetes, version, mesh string) {
	t.Helper()
	k.Apply(kubeExample(t, "istio/routes.yaml"))
	admin := freePort(t)
	s.gateway, s.admin = podAddress+":80", fmt.Sprintf("127.0.0.1:%d", admin)
	parts.StartIstiod(t, k, mesh).StartProxy(t, version, ingress, admin)
}

func testIstioGateway(t *testing.T, k *parts.Kubernetes) {
	s := newPlatform(t, k, kubeExample(t, "istio/extauthz.yaml"))
	k.Apply(kubeExample(t, "istio/gateway.yaml"))
	s.startIngress(t, k, "1.40.0", kubeExample(t, "istio/mesh.yaml"))
	s.decides(t, "/healthz")
	s.preflights(t)
	key := "x-api-key: " + s.NewKey("--scope", "*:*").Key
	s.denied(s.ask("GET", "/other", key), 403, "route_denied")
	s.denied(s.ask("GET", "/orders", key, key), 401, "ambiguous_credential")
	s.denied(s.ask("GET", "/orders", "x-api-key: ak_live_\xff"), 401, "malformed_key") // the bytes arrive unchanged

	// If a policy leaves requests out, headers that a client made up are removed all the
	// same.
	policy := strings.SplitN(kubeExample(t, "istio/gateway.yaml"), "\n---\n", 2)[0]
	k.Apply(strings.Replace(policy, "rules: [{}]", `rules: [{to: [{operation: {notPaths: ["/other"]}}]}]`, 1))
	eventually(t, func() error {
		if a := s.ask("GET", "/other", "x-auth-user-id: root"); !a.reached || strings.Contains(a.body, "root") {
			return fmt.Errorf("left out: %d %s", a.status, a.body)
		}
		return nil
	})
	k.Apply(policy)

	// A policy whose provider the mesh lacks denies every request.
	lost := k.Apply(strings.NewReplacer("{name: extauthz}", "{name: lost}", "{name: extauthz,", "{name: lost,").Replace(policy))
	eventually(t, func() error {
		if a := s.ask("GET", "/orders", key); a.status != 403 || a.reached {
			return fmt.Errorf("with a policy of an unknown provider: %d, upstream reached: %v", a.status, a.reached)
		}
		return nil
	})
	k.Delete(lost[0])
	s.awaits(key)
	s.shutWithout(key)
}

// testIstioPrinted applies what `envoy istio` prints for another configuration, on the
// oldest Envoy.
func testIstioPrinted(t *testing.T, k *parts.Kubernetes) {
	s := newPlatform(t, k, "identity: {header_prefix: x-id-}\ncredentials: [{header: x-key}]\nroutes: [{match: /healthz, anonymous: true}]\ndefault_route: map\n")
	k.Apply(s.Must("envoy", "istio"))
	s.startIngress(t, k, "1.36.4", s.Must("envoy", "istio", "--mesh"))
	key := "x-key: " + s.NewKey("--scope", "orders:read").Key
	s.awaits(key)
	s.renamed(key)
	s.denied(s.ask("OPTIONS", "/orders", "origin: https://app.example.com", "access-control-request-method: GET"), 401, "missing_key")
}

func testIstioSidecar(t *testing.T, k *parts.Kubernetes) {
	s := newPlatform(t, k, kubeExample(t, "istio/extauthz.yaml"))
	waypoint := k.Apply(kubeExample(t, "istio/waypoint.yaml")) // the API accepts it; no waypoint is run
	k.Delete(waypoint[0])
	s.startSidecar(t, k, kubeExample(t, "istio/mesh.yaml"))
	s.decides(t, "/healthz")
	s.preflights(t)
	s.shutWithout("x-api-key: " + s.NewKey("--scope", "orders:read").Key)
}

// startSidecar runs the sidecar of the stack's upstream.
func (s *stack) startSidecar(t *testing.T, k *parts.Kubernetes, mesh string) {
	t.Helper()
	k.Apply(kubeExample(t, "istio/sidecar.yaml"))
	// This replaces the redirection of a pod's traffic, and its certificates.
	k.Apply(fmt.Sprintf(`
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: tests, namespace: shop}
spec:
  workloadSelector: {labels: {app: orders}}
  ingress: [{port: {number: 8080, protocol: HTTP, name: http}, captureMode: NONE, defaultEndpoint: "0.0.0.0:%s"}]
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: tests, namespace: shop}
spec: {mtls: {mode: DISABLE}}
`, portOf(t, s.upstream.Address)))
	admin := freePort(t)
	s.gateway, s.admin = podAddress+":8080", fmt.Sprintf("127.0.0.1:%d", admin)
	orders := parts.Workload{Kind: "sidecar", Address: podAddress, Namespace: "shop", Label: "app", Value: "orders"}
	parts.StartIstiod(t, k, mesh).StartProxy(t, "1.40.0", orders, admin)
}

// testIstioHeadless shows why the examples need a Service with an address.
func testIstioHeadless(t *testing.T, k *parts.Kubernetes) {
	s := newPlatform(t, k, kubeExample(t, "istio/extauthz.yaml"))
	k.Apply(strings.Replace(pods("extauthz", "headless", "grpc", 9001, s.GRPC), "spec:\n", "spec:\n  clusterIP: None\n", 1))
	s.startSidecar(t, k, strings.Replace(kubeExample(t, "istio/mesh.yaml"), "service: extauthz.", "service: headless.", 1))
	key := "x-api-key: " + s.NewKey("--scope", "orders:read").Key
	eventually(t, func() error {
		c, err := net.Dial("tcp", s.gateway)
		if err != nil {
			return err
		}
		return c.Close()
	})
	for range 5 {
		if a := s.ask("GET", "/orders", key); a.status != 503 || a.reached {
			t.Errorf("a sidecar reaches a headless Service: %d %s", a.status, a.body)
		}
	}
}

func (s *stack) preflights(t *testing.T) {
	t.Helper()
	if a := s.ask("OPTIONS", "/orders", "origin: https://app.example.com", "access-control-request-method: GET"); !a.reached {
		t.Errorf("a preflight: %d %s", a.status, a.body)
	}
}

// renamed checks decisions with identity headers under x-id- and keys in x-key.
func (s *stack) renamed(key string) {
	s.t.Helper()
	a := s.ask("GET", "/orders", key, "x-id-user-id: root", "x-id-admin: root", "x-auth-user-id: theirs")
	s.allowed(a)
	if got := a.lines("x-id-user-id"); len(got) != 1 || got[0] != "alice" || strings.Contains(a.body, "root") || len(a.lines("x-auth-user-id")) != 1 || len(a.lines("x-key")) != 0 {
		s.t.Errorf("the upstream got %s", a.body)
	}
	if a := s.ask("GET", "/healthz", "x-id-user-id: root"); !a.reached || strings.Contains(a.body, "root") {
		s.t.Errorf("on an anonymous route: %d %s", a.status, a.body)
	}
	s.denied(s.ask("GET", "/orders"), 401, "missing_key")
	s.denied(s.ask("POST", "/orders", key, "content-length: 0"), 403, "scope_missing")
}
