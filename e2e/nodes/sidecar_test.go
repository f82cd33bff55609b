//go:build kube

package nodes

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"extauthz/e2e/parts"
)

// sidecar runs the documented gateway with the service in its pods, beside the
// release and on its database: keys of the release are allowed by each of its pods.
func sidecar(t *testing.T, s *site) {
	data := map[string]string{}
	for _, name := range []string{"extauthz", "extauthz-trial"} {
		var secret struct{ Data map[string]string }
		if err := json.Unmarshal([]byte(s.kubectl(t, "get", "secret", name, "-o", "json")), &secret); err != nil {
			t.Fatal(err)
		}
		for key, value := range secret.Data {
			data[key] = value
		}
	}
	secret, err := json.Marshal(map[string]any{"apiVersion": "v1", "kind": "Secret", "metadata": map[string]string{"name": "extauthz-secrets", "namespace": s.release}, "data": data})
	if err != nil {
		t.Fatal(err)
	}
	s.Apply(string(secret))
	file := filepath.Join(t.TempDir(), "envoy.yaml")
	printed := s.service(t, "envoy", "bootstrap", "--listen", "0.0.0.0:10000", "--upstream", "orders."+s.shop+".svc.cluster.local:8080", "--service", "unix:/run/extauthz/grpc.sock")
	if err := os.WriteFile(file, []byte(printed), 0o600); err != nil {
		t.Fatal(err)
	}
	s.kubectl(t, "create", "configmap", "gateway", "--from-file=envoy.yaml="+file)
	s.Apply(documentedSidecar(t))
	s.kubectl(t, "rollout", "status", "deployment/gateway", "--timeout=240s")
	addresses := strings.Fields(s.kubectl(t, "get", "pods", "-l", "app=gateway", "-o", "jsonpath={.items[*].status.podIP}"))
	if len(addresses) != 2 {
		t.Errorf("pods of the gateway: %q, want two", addresses)
	}
	usual := s.envoy
	for _, address := range addresses {
		s.envoy = address + ":10000"
		s.answers(t, http.StatusOK, s.key)
		s.answers(t, http.StatusUnauthorized, "")
	}
	s.envoy = usual
	s.kubectl(t, "delete", "deployment/gateway", "configmap/gateway", "secret/extauthz-secrets")
}

// documentedSidecar returns the manifest that is in the documentation.
func documentedSidecar(t *testing.T) string {
	t.Helper()
	const page = "../../docs/deployment.md"
	for _, block := range parts.Fenced(t, page, "yaml") {
		if strings.HasPrefix(block, "# gateway.yaml\n") {
			return block
		}
	}
	t.Fatalf("%s has no manifest of a sidecar", page)
	return ""
}
