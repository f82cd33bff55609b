//go:build kube

package nodes

import (
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"extauthz/e2e/parts"
)

// certificates: TLS both ways with Secrets such as cert-manager makes, by hand, of
// which the service's is renewed under load.
func certificates(t *testing.T, s *site) {
	other := *s
	s = &other
	s.release, s.shop = "tls", "tls-shop"
	s.Apply("apiVersion: v1\nkind: Namespace\nmetadata: {name: tls}\n---\napiVersion: v1\nkind: Namespace\nmetadata: {name: tls-shop}\n")
	authority := parts.NewAuthority(t)
	gateway := authority.Issue(t.TempDir(), "gateway.shop")
	s.putCertificate(t, "tls", "extauthz-tls", authority.Issue(t.TempDir(), "extauthz.tls.svc"))
	s.putCertificate(t, "tls-shop", "gateway-tls", gateway)
	s.must(t, "helm", "install", "extauthz", s.chart, "-n", s.release, "-f", "../../helm/extauthz/ci/trial-values.yaml",
		"--set", "tls.enabled=true,tls.existingSecret=extauthz-tls,tls.clientCA.secretName=extauthz-tls,config.grpc.tls.allowed_sans={gateway.shop}")
	s.rolledOut(t)
	s.key = s.newKey(t, "alice")
	s.startGateway(t, "--tls-ca", "/etc/certificate/ca.crt", "--tls-name", "extauthz.tls.svc", "--tls-cert", "/etc/certificate/tls.crt", "--tls-key", "/etc/certificate/tls.key")
	s.answers(t, http.StatusOK, s.key)

	shown, err := tls.LoadX509KeyPair(gateway.CertFile, gateway.KeyFile)
	if err != nil {
		t.Fatal(err)
	}
	config := &tls.Config{RootCAs: authority.Pool, ServerName: "extauthz.tls.svc", Certificates: []tls.Certificate{shown}, NextProtos: []string{"h2"}, MinVersion: tls.VersionTLS12}
	before := s.serials(t, config)
	s.under(t, 0, func() {
		begin := time.Now()
		s.putCertificate(t, "tls", "extauthz-tls", authority.Issue(t.TempDir(), "extauthz.tls.svc"))
		s.within(t, 3*time.Minute, func() error {
			for address, serial := range s.serials(t, config) {
				if before[address] != nil && before[address].Cmp(serial) == 0 {
					return fmt.Errorf("%s still shows the certificate before", address)
				}
			}
			return nil
		})
		t.Logf("%s: all replicas show the new certificate after %v (the kubelet of this cluster syncs each 10 s)", t.Name(), time.Since(begin).Round(time.Second))
	})
	s.must(t, "helm", "uninstall", "extauthz", "-n", s.release, "--wait")
	s.must(t, "kubectl", "delete", "namespace", s.release, s.shop, "--wait=false")
}

// serials are those of the certificates that the replicas show.
func (s *site) serials(t *testing.T, config *tls.Config) map[string]*big.Int {
	t.Helper()
	found := map[string]*big.Int{}
	for _, address := range strings.Fields(s.kubectl(t, "get", "pods", "-l", replicas, "-o", "jsonpath={.items[*].status.podIP}")) {
		c, err := tls.Dial("tcp", address+":9001", config)
		if err != nil {
			t.Errorf("%s: %v", address, err)
			continue
		}
		found[address] = c.ConnectionState().PeerCertificates[0].SerialNumber
		_ = c.Close()
	}
	return found
}

// putCertificate writes a Secret as cert-manager does: tls.crt, tls.key, ca.crt.
func (s *site) putCertificate(t *testing.T, namespace, name string, c parts.Certificates) {
	t.Helper()
	data := map[string]string{}
	for key, file := range map[string]string{"tls.crt": c.CertFile, "tls.key": c.KeyFile, "ca.crt": c.CAFile} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		data[key] = base64.StdEncoding.EncodeToString(text)
	}
	text, err := json.Marshal(map[string]any{"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls", "metadata": map[string]string{"name": name, "namespace": namespace}, "data": data})
	if err != nil {
		t.Fatal(err)
	}
	s.Apply(string(text))
}
