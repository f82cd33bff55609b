//go:build kube

package e2e

import (
	"fmt"
	"testing"

	"extauthz/e2e/parts"
)

func testIstioGateway(t *testing.T, k *parts.Kubernetes) {
	s := newPlatform(t, k, example(t, "istio/extauthz.yaml"))
	k.Apply(example(t, "istio/gateway.yaml"))
	k.Apply(example(t, "istio/routes.yaml"))
	admin := freePort(t)
	s.gateway, s.admin = podAddress+":80", fmt.Sprintf("127.0.0.1:%d", admin)
	parts.StartIstiod(t, k, example(t, "istio/mesh.yaml")).StartProxy(t, "1.40.0",
		parts.Workload{Kind: "router", Address: "10.255.0.1", Namespace: "istio-ingress", Label: "istio", Value: "ingressgateway"}, admin)
	s.decides(t, "/healthz")
	s.denied(s.ask("GET", "/other", "x-api-key: "+s.NewKey("--scope", "*:*").Key), 403, "route_denied")
	if a := s.ask("OPTIONS", "/orders", "origin: https://app.example.com", "access-control-request-method: GET"); !a.reached {
		t.Errorf("a preflight: %d %s", a.status, a.body)
	}
	s.shutWithout(s.NewKey("--scope", "orders:read").Key)
}
