package parts

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
)

const kubernetesToken = "tests"

// Kubernetes is a Kubernetes API: it validates and stores objects, but runs nothing.
type Kubernetes struct {
	Kubeconfig string // the path of a file

	tb     testing.TB
	url    string
	client *http.Client
}

// KubernetesPart is the path of something that `scripts/install-parts.sh kube`
// made: kube-apiserver, pilot-discovery, envoy-gateway, istio-crds.yaml,
// envoy-gateway-crds.yaml, and charts/gateway-helm, which is Envoy Gateway's.
func KubernetesPart(tb testing.TB, name string) string {
	tb.Helper()
	return installedPart(tb, "kube", name, "tools/kube/go.mod")
}

// StartKubernetes runs etcd and a kube-apiserver.
func StartKubernetes(tb testing.TB) *Kubernetes {
	tb.Helper()
	dir := tb.TempDir()
	client, peer, port := freePort(tb), freePort(tb), freePort(tb)
	etcdURL := fmt.Sprintf("http://127.0.0.1:%d", client)
	etcd := start(tb, "etcd", nil, installed(tb, "etcd"), "--data-dir", filepath.Join(dir, "etcd"), "--unsafe-no-fsync", "--log-level", "warn",
		"--listen-client-urls", etcdURL, "--advertise-client-urls", etcdURL,
		"--listen-peer-urls", fmt.Sprintf("http://127.0.0.1:%d", peer), "--initial-advertise-peer-urls", fmt.Sprintf("http://127.0.0.1:%d", peer), "--initial-cluster", fmt.Sprintf("default=http://127.0.0.1:%d", peer))
	etcd.await(etcdURL + "/health")

	certificates, tokens := NewCertificates(tb), filepath.Join(dir, "tokens.csv")
	write(tb, tokens, kubernetesToken+",tests,tests,system:masters\n")
	k := &Kubernetes{tb: tb, url: fmt.Sprintf("https://127.0.0.1:%d", port), Kubeconfig: filepath.Join(dir, "kubeconfig"),
		client: &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: certificates.Pool, MinVersion: tls.VersionTLS12}}, Timeout: time.Minute}}
	server := start(tb, "kube-apiserver", nil, KubernetesPart(tb, "kube-apiserver"), "--etcd-servers", etcdURL, "--bind-address", "127.0.0.1",
		"--secure-port", fmt.Sprint(port), "--tls-cert-file", certificates.CertFile, "--tls-private-key-file", certificates.KeyFile, "--advertise-address", "127.0.0.1", "--endpoint-reconciler-type", "none",
		"--service-account-key-file", certificates.CertFile, "--service-account-signing-key-file", certificates.KeyFile, "--service-account-issuer", "https://kubernetes.default.svc",
		"--service-cluster-ip-range", "10.96.0.0/16", "--token-auth-file", tokens, "--authorization-mode", "RBAC", "--disable-admission-plugins", "ServiceAccount")

	ctx, cancel := context.WithTimeout(context.Background(), 4*startTime)
	defer cancel()
	if err := Eventually(ctx, func() error {
		select {
		case <-server.done:
			return Final(fmt.Errorf("it ended: %w", server.err))
		default:
		}
		_, err := k.request(http.MethodGet, "/readyz", "", nil)
		return err
	}); err != nil {
		tb.Fatalf("kube-apiserver is not ready: %v", err)
	}
	tb.Cleanup(k.client.CloseIdleConnections)
	write(tb, k.Kubeconfig, fmt.Sprintf(`apiVersion: v1
kind: Config
current-context: tests
clusters: [{name: tests, cluster: {server: %q, certificate-authority: %q}}]
users: [{name: tests, user: {token: %s}}]
contexts: [{name: tests, context: {cluster: tests, user: tests}}]
`, k.url, certificates.CAFile, kubernetesToken))
	return k
}

// ApplyDefinitions defines the custom kinds of a platform (istio-crds.yaml,
// envoy-gateway-crds.yaml) and waits until the API accepts objects of them.
func (k *Kubernetes) ApplyDefinitions(name string) {
	k.tb.Helper()
	text, err := os.ReadFile(KubernetesPart(k.tb, name))
	if err != nil {
		k.tb.Fatal(err)
	}
	k.Define(string(text))
}

// Define is ApplyDefinitions for documents.
func (k *Kubernetes) Define(documents string) {
	k.tb.Helper()
	for _, o := range k.Apply(documents) {
		if o.Kind != "CustomResourceDefinition" {
			continue
		}
		ctx, cancel := context.WithTimeout(context.Background(), startTime)
		if err := Eventually(ctx, func() error {
			var definition struct {
				Status struct {
					Conditions []struct{ Type, Status string }
				}
			}
			said, err := k.request(http.MethodGet, o.path(), "", nil)
			if err != nil {
				return err
			}
			if err := json.Unmarshal(said, &definition); err != nil {
				return err
			}
			for _, c := range definition.Status.Conditions {
				if c.Type == "Established" && c.Status == "True" {
					return nil
				}
			}
			return errors.New("not established")
		}); err != nil {
			k.tb.Fatalf("%s: %v", o.Metadata.Name, err)
		}
		cancel()
	}
}

// Object identifies an object of the API.
type Object struct {
	APIVersion string `yaml:"apiVersion"`
	Kind       string
	Metadata   Metadata
}

// Metadata is the name of an object; Namespace is empty if the object has none.
type Metadata struct{ Name, Namespace string }

// Apply applies documents in their order, as `kubectl apply --server-side` does, and
// returns the applied objects. A field that the API does not know fails the test.
func (k *Kubernetes) Apply(documents string) (applied []Object) {
	k.tb.Helper()
	for decoder := yaml.NewDecoder(strings.NewReader(documents)); ; {
		var document yaml.Node
		err := decoder.Decode(&document)
		if errors.Is(err, io.EOF) {
			return applied
		}
		var o Object
		if err == nil {
			err = document.Decode(&o)
		}
		if err != nil {
			k.tb.Fatal(err)
		}
		if o.Kind == "" {
			continue
		}
		text, err := yaml.Marshal(&document)
		if err != nil {
			k.tb.Fatal(err)
		}
		if _, err := k.request(http.MethodPatch, o.path()+"?fieldManager=tests&force=true&fieldValidation=Strict", "application/apply-patch+yaml", text); err != nil {
			k.tb.Fatalf("%s %s: %v", o.Kind, o.Metadata.Name, err)
		}
		applied = append(applied, o)
	}
}

// Delete removes an object.
func (k *Kubernetes) Delete(o Object) {
	k.tb.Helper()
	if _, err := k.request(http.MethodDelete, o.path(), "", nil); err != nil {
		k.tb.Fatal(err)
	}
}

// SetStatus sets the status of an object, as its controller would.
func (k *Kubernetes) SetStatus(o Object, status any) {
	k.tb.Helper()
	text, err := json.Marshal(map[string]any{"status": status})
	if err == nil {
		_, err = k.request(http.MethodPatch, o.path()+"/status", "application/merge-patch+json", text)
	}
	if err != nil {
		k.tb.Fatal(err)
	}
}

// Get reads an object as JSON.
func (k *Kubernetes) Get(o Object, into any) error {
	said, err := k.request(http.MethodGet, o.path(), "", nil)
	if err != nil {
		return err
	}
	return json.Unmarshal(said, into)
}

func (o Object) path() string {
	var b strings.Builder
	if strings.Contains(o.APIVersion, "/") {
		b.WriteString("/apis/" + o.APIVersion)
	} else {
		b.WriteString("/api/" + o.APIVersion)
	}
	if o.Metadata.Namespace != "" {
		b.WriteString("/namespaces/" + o.Metadata.Namespace)
	}
	plural := strings.ToLower(o.Kind)
	switch {
	case strings.HasSuffix(plural, "s"):
		plural += "es"
	case strings.HasSuffix(plural, "y") && !strings.HasSuffix(plural, "ay"): // policies, gateways
		plural = plural[:len(plural)-1] + "ies"
	default:
		plural += "s"
	}
	return b.String() + "/" + plural + "/" + o.Metadata.Name
}

func (k *Kubernetes) request(method, path, contentType string, body []byte) ([]byte, error) {
	req, err := http.NewRequest(method, k.url+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("authorization", "Bearer "+kubernetesToken)
	if contentType != "" {
		req.Header.Set("content-type", contentType)
	}
	res, err := k.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = res.Body.Close() }()
	said, err := io.ReadAll(res.Body)
	if err != nil {
		return nil, err
	}
	if res.StatusCode >= 300 {
		return nil, fmt.Errorf("%s %s: %d %s", method, path, res.StatusCode, said)
	}
	return said, nil
}

func write(tb testing.TB, path, text string) {
	tb.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		tb.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		tb.Fatal(err)
	}
}
