package chart

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"extauthz/e2e/parts"
)

// conforms validates the documents in a folder by the schemas of the oldest and the
// newest Kubernetes that the chart supports.
func conforms(t *testing.T, folder, custom string) {
	t.Helper()
	for _, version := range []string{"1.30", "1.37"} {
		said, err := exec.Command(parts.ChartPart(t, "kubeconform"), "-strict", "-summary", "-kubernetes-version", version+".0",
			"-schema-location", parts.ChartPart(t, "kubernetes-"+version)+"/{{.ResourceKind}}{{.KindSuffix}}.json",
			"-schema-location", custom+"/{{.ResourceKind}}{{.KindSuffix}}.json", folder).CombinedOutput()
		if err != nil || !strings.Contains(string(said), "Skipped: 0") {
			t.Errorf("Kubernetes %s: %v\n%s", version, err, said)
		}
	}
}

// TestEnvoyKubernetes_IsWhatKubernetesAndEnvoyTake: both accept the printed objects, and
// a changed configuration replaces the pods.
func TestEnvoyKubernetes_IsWhatKubernetesAndEnvoyTake(t *testing.T) {
	folder, sums := t.TempDir(), map[string]bool{}
	p := parts.NewPod(t)
	for name, flags := range map[string][]string{
		"plain":  nil,
		"tls":    {"--tls-secret", "extauthz-gateway", "--tls-name", "extauthz.extauthz.svc"},
		"others": {"--name", "edge", "--namespace", "123", "--replicas", "3", "--image", "registry.example.com/envoy@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef", "--service", "authz.example.com:443"},
	} {
		out, errOut, err := p.Run(append([]string{"envoy", "kubernetes", "--upstream", "orders.shop.svc.cluster.local:8080"}, flags...)...)
		if err != nil {
			t.Fatalf("%s: %v: %s", name, err, errOut)
		}
		if err := os.WriteFile(folder+"/"+name+".yaml", []byte(out), 0o600); err != nil {
			t.Fatal(err)
		}
		all := objects(t, out)
		if len(all) != 3 {
			t.Fatalf("%s: %d objects", name, len(all))
		}
		sums[all[1].text("spec", "template", "metadata", "annotations", "checksum/config")] = true
		mounted := t.TempDir() // as /etc/envoy
		for file, text := range all[0].at("data").(map[string]any) {
			if err := os.WriteFile(mounted+"/"+file, []byte(text.(string)), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		for _, version := range parts.Versions() {
			if err := parts.ValidateEnvoy(t, version, strings.ReplaceAll(all[0].text("data", "envoy.yaml"), "/etc/envoy/", mounted+"/")); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	if len(sums) != 3 || sums[""] {
		t.Errorf("three configurations have the sums %v", sums)
	}
	conforms(t, folder, folder)

	// If the service requires no client certificate, the Secret need not contain one.
	certificates := parts.NewCertificates(t)
	for path, file := range map[string]string{"/tls/crt": certificates.CertFile, "/tls/key": certificates.KeyFile} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		p.Write(path, string(text), 0o444)
	}
	p.Write("/etc/extauthz/extauthz.yaml", "grpc: {tls: {cert_file: /tls/crt, key_file: /tls/key}}\n", 0o444)
	arguments := []string{"--config", "/etc/extauthz/extauthz.yaml", "envoy", "kubernetes", "--upstream", "orders:8080"}
	if _, errOut, err := p.Run(arguments...); err == nil || !strings.Contains(errOut, "--tls-secret") {
		t.Errorf("a service with TLS, and no Secret: %v: %s", err, errOut)
	}
	out, errOut, err := p.Run(append(arguments, "--tls-secret", "ca", "--tls-name", "extauthz.extauthz.svc")...)
	if err != nil || strings.Contains(out, "tls.crt") || !strings.Contains(out, "/etc/envoy-tls/ca.crt") {
		t.Errorf("no client certificate: %v: %s\n%s", err, errOut, out)
	}
	for _, wrong := range [][]string{{"--service", "127.0.0.1:9001"}, {"--upstream", "unix:/run/x.sock"}, {"--image", "a b"}, {"--tls-secret", "x"}, {"--tls-secret", "A_b", "--tls-name", "a.b"}, {"--replicas", "0"}, {"--namespace", "a.b"}} {
		if out, _, err := p.Run(append([]string{"envoy", "kubernetes", "--upstream", "orders:8080"}, wrong...)...); err == nil {
			t.Errorf("%q was taken:\n%.200s", wrong, out)
		}
	}
}

// TestDocuments_TheSidecarIsWhatKubernetesTakes: Kubernetes accepts the manifest of
// docs/deployment.md.
func TestDocuments_TheSidecarIsWhatKubernetesTakes(t *testing.T) {
	text, err := os.ReadFile("../../docs/deployment.md")
	if err != nil {
		t.Fatal(err)
	}
	_, manifest, found := strings.Cut(string(text), "```yaml\n# gateway.yaml\n")
	manifest, _, closed := strings.Cut(manifest, "```\n")
	if !found || !closed {
		t.Fatal("docs/deployment.md has no gateway.yaml")
	}
	folder := t.TempDir()
	if err := os.WriteFile(folder+"/gateway.yaml", []byte(manifest), 0o600); err != nil {
		t.Fatal(err)
	}
	conforms(t, folder, folder)
}
