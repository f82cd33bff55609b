package parts

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// ContourPart returns the path of something that `scripts/install-parts.sh contour` made:
// contour, crds.yaml.
func ContourPart(tb testing.TB, name string) string {
	tb.Helper()
	return installedPart(tb, "contour", name, "tools/contour/go.mod")
}

// StartContour runs Contour on a Kubernetes API. It uses the ContourConfiguration contour
// of projectcontour, to whose spec it adds ports of this machine. It also runs an Envoy
// that takes its configuration from Contour and listens on an address, at port 80 and
// 443.
func StartContour(tb testing.TB, k *Kubernetes, configuration, envoyVersion, address string, admin int) {
	tb.Helper()
	program, xds, health, metrics := ContourPart(tb, "contour"), freePort(tb), freePort(tb), freePort(tb)
	const spec = "\nspec:\n  globalExtAuth:"
	if !strings.Contains(configuration, spec) {
		tb.Fatalf("no ContourConfiguration in\n%s", configuration)
	}
	k.Apply(strings.Replace(configuration, spec, fmt.Sprintf(`
spec:
  xdsServer: {address: 127.0.0.1, port: %d, tls: {insecure: true}}
  health: {address: 127.0.0.1, port: %d}
  metrics: {address: 127.0.0.1, port: %d}
  debug: {address: 127.0.0.1, port: %d}
  envoy:
    http: {address: %[5]s, port: 80, accessLog: /dev/stdout}
    https: {address: %[5]s, port: 443, accessLog: /dev/stdout}
    health: {address: 127.0.0.1, port: %[6]d}
    metrics: {address: 127.0.0.1, port: %[6]d}
  globalExtAuth:`, xds, health, metrics, freePort(tb), address, freePort(tb)), 1))
	contour := start(tb, "contour", nil, program, "serve", "--kubeconfig", k.Kubeconfig, "--contour-config-name", "contour", "--disable-leader-election")
	contour.await(fmt.Sprintf("http://127.0.0.1:%d/healthz", health))

	file := filepath.Join(tb.TempDir(), "bootstrap.json")
	if said, err := exec.Command(program, "bootstrap", file, "--xds-address", "127.0.0.1", "--xds-port", fmt.Sprint(xds)).CombinedOutput(); err != nil {
		tb.Fatalf("contour bootstrap: %v: %s", err, said)
	}
	printed, err := os.ReadFile(file)
	if err != nil {
		tb.Fatal(err)
	}
	var bootstrap map[string]any
	if err := json.Unmarshal(printed, &bootstrap); err != nil {
		tb.Fatal(err)
	}
	// Its admin listener is a Unix socket; the pod's command line sets the node.
	bootstrap["admin"] = map[string]any{"address": map[string]any{"socket_address": map[string]any{"address": "127.0.0.1", "port_value": admin}}}
	bootstrap["node"] = map[string]any{"id": "envoy-1", "cluster": "projectcontour"}
	text, err := json.Marshal(bootstrap)
	if err != nil {
		tb.Fatal(err)
	}
	StartEnvoy(tb, envoyVersion, string(text), admin)
}
