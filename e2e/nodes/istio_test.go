//go:build kube

package nodes

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// istiodValues are those of its chart: the images made here; no filter that only Istio's
// own Envoy has; and no more of the nodes than a test needs.
var istiodValues = []string{"--set", "global.hub=localhost/istio,global.tag=local,telemetry.enabled=false,env.PILOT_ENABLE_METADATA_EXCHANGE=false,env.PILOT_ENABLE_ALPN_FILTER=false," +
	"autoscaleEnabled=false,resources.requests.cpu=10m,resources.requests.memory=128Mi,global.proxy.resources.requests.cpu=10m"}

const ingress = "istio-ingress"

// istio: istiod and an ingress gateway as their charts install them, with the objects
// that docs/istio.md has users apply. Its proxies are Istio's agent, which istiod
// injects and gives certificates, with a stock Envoy.
func istio(t *testing.T, s *site) {
	const system = "istio-system"
	base, istiod, gateway := platformChart(t, "base"), platformChart(t, "istio-discovery"), platformChart(t, "gateway")
	s.loadPlatform(t, "istio")
	s.configured(t, "istio/extauthz.yaml")
	mesh := s.meshValues(t)

	begin := time.Now()
	s.namespace(t, system)
	s.namespace(t, ingress)
	s.installed(t, "istio-base", base, system)
	s.installed(t, "istiod", istiod, system, append(istiodValues, "-f", mesh(false))...)
	s.must(t, "kubectl", "-n", system, "rollout", "status", "deployment/istiod", "--timeout=5m")
	s.installed(t, "istio-ingressgateway", gateway, ingress, "--set", "service.type=ClusterIP,autoscaling.enabled=false,resources.requests.cpu=10m")
	s.documented(t, "istio.md", "extauthz envoy istio --namespace")
	s.example(t, "istio/routes.yaml")
	p := &platform{site: s, name: ingress, address: s.podOf(t, ingress, "istio=ingressgateway") + ":80", away: http.StatusServiceUnavailable, failOpen: func(t *testing.T, open bool) {
		s.must(t, "helm", append([]string{"upgrade", "istiod", istiod, "-n", system, "--reuse-values", "-f", mesh(open)}, istiodValues...)...)
	}}
	t.Run("Gateway", func(t *testing.T) {
		key := p.decides(t)
		t.Logf("%s: installed, and the policy in force, after %v", t.Name(), time.Since(begin).Round(time.Second))
		p.endures(t, key)
	})
	t.Run("Sidecar", func(t *testing.T) { istioSidecar(t, p) })
}

// strict refuses what a client sends to the workload without a certificate of the mesh.
const strict = `
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: shop}
spec: {mtls: {mode: STRICT}}
`

// istioSidecar: the upstream's sidecar calls the service, and the gateway no longer
// does. Requests come through the gateway, under the mesh's certificates.
func istioSidecar(t *testing.T, p *platform) {
	begin := time.Now()
	p.must(t, "kubectl", "-n", ingress, "delete", "authorizationpolicy", "extauthz")
	p.Apply(strict)
	p.documented(t, "istio.md", "extauthz envoy istio --sidecar")
	inject := func(t *testing.T, value string) {
		t.Helper()
		p.must(t, "kubectl", "-n", p.shop, "patch", "deployment", "orders", "--type=merge", "-p", `{"spec":{"template":{"metadata":{"labels":{"sidecar.istio.io/inject":"`+value+`"}}}}}`)
		p.must(t, "kubectl", "-n", p.shop, "rollout", "status", "deployment/orders", "--timeout=5m")
	}
	inject(t, "true")
	t.Cleanup(func() {
		_, _ = p.Try("kubectl", "-n", "shop", "delete", "peerauthentication,authorizationpolicy,envoyfilter,virtualservice", "--all")
		inject(t, "false")
	})
	key := p.decides(t)
	t.Logf("%s: injected, and the policy in force, after %v", t.Name(), time.Since(begin).Round(time.Second))
	const gateway = "URI=spiffe://cluster.local/ns/istio-ingress/sa/istio-ingressgateway"
	if r, err := p.ask("GET", "/orders/1", "x-api-key: "+key); err != nil || !strings.Contains(strings.Join(r.header("x-forwarded-client-cert"), ","), gateway) {
		t.Errorf("the sidecar did not see the gateway's certificate: %v, got %d %.600s", err, r.status, r.body)
	}
	p.endures(t, key)
}

// installed installs a release of a platform, until the test ends.
func (s *site) installed(t *testing.T, name, chart, namespace string, flags ...string) {
	t.Helper()
	s.must(t, "helm", append([]string{"install", name, chart, "-n", namespace, "--timeout", "5m"}, flags...)...)
	t.Cleanup(func() { _, _ = s.Try("helm", "uninstall", name, "-n", namespace, "--wait") })
}

// meshValues has the mesh configuration printed, and returns a function that writes the
// values of istiod's chart with it.
func (s *site) meshValues(t *testing.T) (file func(failOpen bool) string) {
	t.Helper()
	printed := s.documented(t, "istio.md", "extauthz envoy istio --mesh")
	const closed = "failOpen: false"
	if strings.Count(printed, closed) != 1 {
		t.Fatalf("the printed mesh configuration does not fail closed: %s", printed)
	}
	dir := t.TempDir()
	return func(failOpen bool) string {
		t.Helper()
		text, path := printed, filepath.Join(dir, "closed.yaml")
		if failOpen {
			text, path = strings.Replace(printed, closed, "failOpen: true", 1), filepath.Join(dir, "open.yaml")
		}
		if err := os.WriteFile(path, []byte("meshConfig:\n  "+strings.ReplaceAll(text, "\n", "\n  ")+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
}
