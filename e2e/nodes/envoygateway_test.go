//go:build kube

package nodes

import (
	"fmt"
	"net/http"
	"testing"
	"time"
)

const gatewayClass = `
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: eg}
spec: {controllerName: gateway.envoyproxy.io/gatewayclass-controller}
`

// envoyGateway: Envoy Gateway as its chart installs it, whose Envoys are pods too, with
// the objects that docs/envoy-gateway.md has users apply.
func envoyGateway(t *testing.T, s *site) {
	const system = "envoy-gateway-system"
	chart := platformChart(t, "gateway-helm")
	s.loadPlatform(t, "envoy-gateway")
	s.configured(t, "envoy-gateway/extauthz.yaml")
	s.namespace(t, "gateways")

	begin := time.Now()
	s.namespace(t, system)
	s.must(t, "helm", "install", "eg", chart, "-n", system, "--set", "global.images.envoyProxy.image=docker.io/"+s.envoyImage(t), "--timeout", "5m")
	t.Cleanup(func() { _, _ = s.Try("helm", "uninstall", "eg", "-n", system, "--wait") })
	s.must(t, "kubectl", "-n", system, "rollout", "status", "deployment/envoy-gateway", "--timeout=5m")
	s.Apply(gatewayClass)
	s.documented(t, "envoy-gateway.md", "extauthz envoy gateway")
	s.example(t, "envoy-gateway/routes.yaml")
	t.Cleanup(func() {
		// Before its controller goes: it has the Envoys removed.
		_, _ = s.Try("kubectl", "delete", "gateway,securitypolicy,clienttrafficpolicy", "--all", "-n", "gateways")
		_, _ = s.Try("kubectl", "delete", "httproute,securitypolicy", "--all", "-n", "shop")
		_, _ = s.Try("kubectl", "delete", "gatewayclass", "eg")
	})
	address := s.podOf(t, system, "gateway.envoyproxy.io/owning-gateway-name=api") + ":10080"
	// To Envoy Gateway a policy is invalid whose Service has no ready endpoint.
	p := &platform{site: s, name: system, address: address, away: http.StatusInternalServerError, failOpen: func(t *testing.T, open bool) {
		s.must(t, "kubectl", "-n", "gateways", "patch", "securitypolicy", "extauthz", "--type=merge", "-p", fmt.Sprintf(`{"spec":{"extAuth":{"failOpen":%v}}}`, open))
	}}
	key := p.decides(t)
	t.Logf("%s: installed, and the policy in force, after %v", t.Name(), time.Since(begin).Round(time.Second))

	// Annotations: what a route needs. Context extensions: of one route's own policy.
	p.allowed(t, "POST", "/search", key, "bob")
	p.denied(t, 403, "scope_missing", "GET", "/reports/1", "x-api-key: "+key)
	p.endures(t, key)
	p.annotated(t, key)
}

// annotated changes a route's annotations, which the service is to take over with the
// next request.
func (p *platform) annotated(t *testing.T, key string) {
	t.Helper()
	p.allowed(t, "POST", "/search", key, "bob")
	begin := time.Now()
	p.must(t, "kubectl", "-n", "shop", "annotate", "httproute", "search", "--overwrite", "gateway.envoyproxy.io/extauthz.action=delete")
	p.withinOf(t, p.name, taking, func() error {
		r, err := p.ask("POST", "/search", "x-api-key: "+key)
		if err == nil && r.status != 403 {
			err = fmt.Errorf("got %d %.200s, want 403", r.status, r.body)
		}
		return err
	})
	t.Logf("%s: a changed annotation is in force after %v", t.Name(), time.Since(begin).Round(100*time.Millisecond))
}
