package chart

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"extauthz/e2e/parts"
)

// withMore sets what else the printed objects depend on.
const withMore = "identity: {header_prefix: x-id-, metadata_headers: [team, plan]}\ncredentials: [{header: x-key}, {cookie: session}]\nclient_address: {trusted_hops: 1}\n" +
	"headers: {keep_overrides: [x-forwarded-prefix]}\nhttp: {trusted_peers: [10.0.0.0/8]}\nroutes: [{match: 'api.example.com/objects/{id}', resource: objects, action: read, encoded: allow}]\n"

// TestPrintedObjects_AreWhatTheGatewaysTake validates them strictly by the definitions of
// the gateways' own releases. Emissary and Consul do not publish theirs in a Go module:
// see docs/gateways.md.
func TestPrintedObjects_AreWhatTheGatewaysTake(t *testing.T) {
	custom, dir, printed := customSchemas(t), t.TempDir(), t.TempDir()
	certificate := parts.NewAuthority(t).Issue(t.TempDir(), "extauthz.extauthz.svc")
	tls := fmt.Sprintf("{tls: {cert_file: %q, key_file: %q}", certificate.CertFile, certificate.KeyFile)
	withTLS := "grpc: " + tls + "}\nhttp: " + tls + ", trusted_peers: [10.0.0.0/8]}\n"
	files := 0
	for name, configuration := range map[string]string{"plain": "http: {trusted_peers: [10.0.0.0/8]}\n", "more": withMore, "tls": withTLS} {
		file := dir + "/" + name + ".yaml"
		if err := os.WriteFile(file, []byte(configuration), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, command := range []string{"contour", "kgateway", "agentgateway", "gateway-api", "gateway-api --http", "cilium", "cilium --http", "nginx-gateway-fabric"} {
			args := append([]string{"--config", file, "envoy"}, strings.Fields(command)...)
			if name == "tls" {
				args = append(args, "--tls-name", "extauthz.extauthz.svc", "--tls-ca", "extauthz-ca")
			}
			if name == "more" && command == "contour" {
				args = append(args, "--raw-paths")
			}
			out, err := exec.Command(parts.Binary(t), args...).Output()
			if err != nil {
				t.Fatalf("extauthz %s: %v", strings.Join(args, " "), err)
			}
			if err := os.WriteFile(printed+"/"+name+"-"+strings.ReplaceAll(command, " ", "")+".yaml", out, 0o600); err != nil {
				t.Fatal(err)
			}
			files++
		}
	}
	said, err := exec.Command(parts.ChartPart(t, "kubeconform"), "-strict", "-summary", "-kubernetes-version", "1.37.0",
		"-schema-location", custom+"/{{.ResourceKind}}{{.KindSuffix}}.json", printed).CombinedOutput()
	if err != nil || !strings.Contains(string(said), "Skipped: 0") {
		t.Errorf("%d files: %v\n%s", files, err, said)
	}
}
