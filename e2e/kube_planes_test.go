//go:build kube

package e2e

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"extauthz/e2e/parts"
)

// TestControlPlanes: the real Contour reads the objects that `extauthz envoy contour`
// prints from a Kubernetes API, and a stock Envoy runs Contour's configuration.
func TestControlPlanes(t *testing.T) {
	if testing.Short() {
		t.Skip("needs a Kubernetes API and Contour")
	}
	if !parts.Isolated(t, podAddress) {
		return
	}
	k := parts.StartKubernetes(t)
	t.Run("contour", func(t *testing.T) { testContour(t, k) })
}

const planesPolicy = "default_route: map\nroutes: [{match: /healthz, anonymous: true}]\n"

func testContour(t *testing.T, k *parts.Kubernetes) {
	k.Define(read(t, parts.ContourPart(t, "crds.yaml")))
	s := newPlatform(t, k, planesPolicy)
	k.Apply("apiVersion: v1\nkind: Namespace\nmetadata: {name: projectcontour}\n")
	certificate := parts.NewAuthority(t).Issue(t.TempDir(), "secure.example.com")
	k.Apply(kept("Secret", "shop", "tls", map[string]string{"tls.crt": read(t, certificate.CertFile), "tls.key": read(t, certificate.KeyFile)}) + "type: kubernetes.io/tls\n")
	k.Apply(`
apiVersion: projectcontour.io/v1
kind: HTTPProxy
metadata: {name: orders, namespace: shop}
spec:
  virtualhost: {fqdn: api.example.com}
  routes:
    - {conditions: [{prefix: /reports}], services: [{name: orders, port: 80}], authPolicy: {context: {resource: orders, action: read}}}
    - {conditions: [{prefix: /}], services: [{name: orders, port: 80}]}
---
apiVersion: projectcontour.io/v1
kind: HTTPProxy
metadata: {name: secure, namespace: shop}
spec:
  virtualhost: {fqdn: secure.example.com, tls: {secretName: tls}}
  routes: [{conditions: [{prefix: /}], services: [{name: orders, port: 80}]}]
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: ingress, namespace: shop}
spec:
  tls: [{hosts: [ingress.example.com], secretName: tls}]
  rules: [{host: ingress.example.com, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: orders, port: {number: 80}}}}]}}]
`)
	admin := freePort(t)
	s.gateway, s.admin = podAddress+":80", fmt.Sprintf("127.0.0.1:%d", admin)
	parts.StartContour(t, k, s.Must("envoy", "contour"), "1.40.0", podAddress, admin)
	s.decidesAnyNames(t, "/healthz")

	key := s.NewKey("--scope", "orders:read").Key
	reader := "x-api-key: " + key
	// If no rule matches, context extensions name what a route needs.
	s.allowed(s.ask("GET", "/reports", reader))
	s.denied(s.ask("GET", "/reports", "x-api-key: "+s.NewKey("--scope", "reports:read").Key), 403, "scope_missing")
	s.denied(s.ask("GET", "/orders", reader, reader), 401, "ambiguous_credential")

	// These hosts with TLS are protected, and those are not.
	eventually(t, func() error {
		if status, body := s.askTLS(t, "secure.example.com", "/orders", key); status != 200 || strings.Contains(body, key) {
			return fmt.Errorf("an HTTPProxy with TLS: %d %s", status, body)
		}
		return nil
	})
	if status, _ := s.askTLS(t, "secure.example.com", "/orders", ""); status != 401 {
		t.Errorf("an HTTPProxy with TLS, without a key: %d", status)
	}
	eventually(t, func() error { // as docs/gateways.md warns
		if status, _ := s.askTLS(t, "ingress.example.com", "/orders", ""); status != 200 {
			return fmt.Errorf("an Ingress with TLS, without a key: %d: docs/gateways.md calls it open", status)
		}
		return nil
	})
	s.shutWithoutAs(403, reader)
	if status, _ := s.askTLS(t, "secure.example.com", "/orders", key); status != 403 {
		t.Errorf("an HTTPProxy with TLS, with the service gone: %d", status)
	}
}

// askTLS sends a request to the gateway's port 443, with a key unless it is empty.
func (s *stack) askTLS(t *testing.T, host, path, key string) (status int, body string) {
	t.Helper()
	c, err := tls.Dial("tcp", podAddress+":443", &tls.Config{ServerName: host, InsecureSkipVerify: true}) // the gateway belongs to this test
	if err != nil {
		return 0, err.Error()
	}
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	request := "GET " + path + " HTTP/1.1\r\nhost: " + host + "\r\nconnection: close\r\n"
	if key != "" {
		request += "x-api-key: " + key + "\r\n"
	}
	if _, err := io.WriteString(c, request+"\r\n"); err != nil {
		t.Fatal(err)
	}
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(b)
}
