//go:build kube

package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"extauthz/e2e/parts"
)

const (
	chart = "../helm/extauthz"
	// The service runs on SQLite, with secrets that Helm makes; databases are tested
	// elsewhere.
	onItsOwn = "secrets.existingSecret=,secrets.generate=true,config.database.driver=sqlite,replicaCount=1,podDisruptionBudget.enabled=false"
)

// newInstalled installs a documented scenario of the chart. It runs the service with the
// ConfigMap and Secrets that the API then holds, at their paths in a pod.
func newInstalled(t *testing.T, k *parts.Kubernetes, scenario string, files map[string]string) (s *stack, notes string) {
	t.Helper()
	s = newPlatformWithout(t, k)
	notes, errOut, err := parts.Helm(t, k.Kubeconfig, "install", "extauthz", chart, "-n", "extauthz", "-f", chart+"/ci/"+scenario+"-values.yaml", "--set", onItsOwn)
	if err != nil {
		t.Fatalf("helm install: %v: %s", err, errOut)
	}
	t.Cleanup(func() {
		if _, errOut, err := parts.Helm(t, k.Kubeconfig, "uninstall", "extauthz", "-n", "extauthz"); err != nil {
			t.Errorf("helm uninstall: %v: %s", err, errOut)
		}
	})
	named := func(kind string) (o parts.Object) {
		return parts.Object{APIVersion: "v1", Kind: kind, Metadata: parts.Metadata{Name: "extauthz", Namespace: "extauthz"}}
	}
	var configMap struct{ Data map[string]string }
	var secret struct{ Data map[string][]byte }
	for object, into := range map[string]any{"ConfigMap": &configMap, "Secret": &secret} {
		if err := k.Get(named(object), into); err != nil {
			t.Fatal(err)
		}
	}
	// A folder that only this test sees, at the path that the configuration names.
	if err := syscall.Mount("tests", "/run", "tmpfs", 0, "mode=755"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Unmount("/run", syscall.MNT_DETACH) })
	put := func(path, text string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range secret.Data {
		put("/run/extauthz/secrets/"+name, string(text))
	}
	for name, text := range files {
		put("/run/extauthz/"+name, text)
	}
	t.Setenv("EXTAUTHZ_TOKEN_FILE", "/run/extauthz/secrets/admin.key") // as in the pod
	s.Service = parts.StartServiceOn(t, podAddress, configMap.Data["extauthz.yaml"])
	k.Apply(endpoint("extauthz", "extauthz", "grpc", s.GRPC))
	return s, notes
}

// testIstioChart: istiod reads the objects of `helm install`; the mesh configuration is
// that of the notes.
func testIstioChart(t *testing.T, k *parts.Kubernetes) {
	s, notes := newInstalled(t, k, "istio", nil)
	_, mesh, found := strings.Cut(notes, "   extensionProviders:")
	mesh, _, ended := strings.Cut("   extensionProviders:"+mesh, "\n\n")
	if !found || !ended && !strings.HasSuffix(strings.TrimSpace(mesh), "MERGE_SLASHES") {
		t.Fatalf("the notes have no mesh configuration: %s", notes)
	}
	s.startIngress(t, k, "1.40.0", strings.ReplaceAll(mesh, "\n   ", "\n")[3:]+"\n")
	s.decides(t, "/healthz")
	s.preflights(t)
}

// testEnvoyGatewayChart: Envoy Gateway reads the objects of `helm install`, with TLS
// between Envoy and the service.
func testEnvoyGatewayChart(t *testing.T, k *parts.Kubernetes) {
	authority := parts.NewAuthority(t)
	server := authority.Issue(t.TempDir(), "extauthz.extauthz.svc")
	s, _ := newInstalled(t, k, "envoy-gateway", map[string]string{"tls/tls.crt": read(t, server.CertFile), "tls/tls.key": read(t, server.KeyFile)})
	k.Apply(kept("ConfigMap", "extauthz", "extauthz-ca", map[string]string{"ca.crt": read(t, authority.CAFile)}))
	k.Apply(kubeExample(t, "envoy-gateway/routes.yaml"))
	parts.StartEnvoyGateway(t, k, "1.40.0")
	s.gateway = podAddress + ":80"
	s.decides(t, "/healthz")
	s.shutWithout("x-api-key: " + s.NewKey("--scope", "orders:read").Key)
}
