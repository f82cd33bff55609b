package gatewayconfig

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
)

// DefaultEnvoyImage is the Envoy image in printed objects.
const DefaultEnvoyImage = "envoyproxy/envoy:v1.40.0"

// The ports of a printed Envoy, and the folders of its files.
const (
	envoyPort      = 10000
	envoyReadyPort = 9902
	envoyAdmin     = "127.0.0.1:9901"
	envoyFolder    = "/etc/envoy"
	envoyTLSFolder = "/etc/envoy-tls"
)

// preStop makes Envoy report that it is about to end, and gives clients time to change to
// another Envoy. It uses the shell because the image has neither curl nor wget.
const preStop = `exec 3<>/dev/tcp/127.0.0.1/9901; printf "POST /healthcheck/fail HTTP/1.1\r\nhost: admin\r\nconnection: close\r\n\r\n" >&3; cat <&3; sleep 15`

// Kubernetes holds the values of the objects for an Envoy in Kubernetes.
type Kubernetes struct {
	Namespace, Name string
	Replicas        int
	Image           string
	// TLSSecret is a Secret in the namespace of the objects, with ca.crt, tls.crt and
	// tls.key. Envoy uses it for TLS to this service; "": plain text.
	TLSSecret string
	// Anonymous: the service requires no client certificate, so ca.crt is enough.
	Anonymous bool
	// TLSName is the DNS name in the service's certificate.
	TLSName string
	// Bootstrap defines what Envoy serves. Its listeners and files are set here.
	Bootstrap Bootstrap
}

// kubernetesFile is an entry of the ConfigMap.
type kubernetesFile struct{ Name, Text string }

// WriteKubernetes writes a ConfigMap, a Deployment and a Service: an Envoy that works as
// printed, in namespaces with the Pod Security Standard "restricted".
func WriteKubernetes(w io.Writer, k Kubernetes) error {
	if err := k.validate(); err != nil {
		return err
	}
	files, err := k.files()
	if err != nil {
		return err
	}
	sum := sha256.New()
	for _, f := range files {
		fmt.Fprintf(sum, "%s\n%s\n", f.Name, f.Text)
	}
	return execute(w, "kubernetes", struct {
		Kubernetes
		Files           []kubernetesFile
		Checksum        string
		PreStop         string
		Port, ReadyPort int
	}{k, files, fmt.Sprintf("%x", sum.Sum(nil)), preStop, envoyPort, envoyReadyPort})
}

var (
	imageForm  = regexp.MustCompile(`^[a-z0-9][A-Za-z0-9._/:@-]*$`)
	secretForm = regexp.MustCompile(`^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$`)
)

func (k Kubernetes) validate() error {
	problems := []error{objectName("namespace", k.Namespace), objectName("name", k.Name)}
	if k.Replicas < 1 {
		problems = append(problems, fmt.Errorf("replicas %d: write 1 or more", k.Replicas))
	}
	if !imageForm.MatchString(k.Image) {
		problems = append(problems, fmt.Errorf("image %q: write REPOSITORY:TAG or REPOSITORY@DIGEST", k.Image))
	}
	if k.TLSSecret != "" && !secretForm.MatchString(k.TLSSecret) {
		problems = append(problems, fmt.Errorf("secret %q: write the name of a Secret", k.TLSSecret))
	}
	for name, address := range map[string]string{"upstream": k.Bootstrap.Upstream, "service": k.Bootstrap.Service} {
		if strings.HasPrefix(address, "unix:") || strings.HasPrefix(address, "127.") || strings.HasPrefix(address, "localhost:") {
			problems = append(problems, fmt.Errorf("%s %q: in a pod that is the pod itself; write a Service, such as orders.shop.svc.cluster.local:8080", name, address))
		}
	}
	return errors.Join(problems...)
}

// files returns the entries of the ConfigMap: the bootstrap and, with TLS, the secrets
// that the bootstrap reads from files.
func (k Kubernetes) files() ([]kubernetesFile, error) {
	b := k.Bootstrap
	b.Listen, b.Ready, b.Admin = fmt.Sprintf("0.0.0.0:%d", envoyPort), fmt.Sprintf("0.0.0.0:%d", envoyReadyPort), envoyAdmin
	b.TLS = BootstrapTLS{}
	if k.TLSSecret != "" {
		b.TLS = BootstrapTLS{Authorities: envoyTLSFolder + "/ca.crt", Name: k.TLSName, Secrets: envoyFolder}
		if !k.Anonymous {
			b.TLS.Certificate, b.TLS.Key = envoyTLSFolder+"/tls.crt", envoyTLSFolder+"/tls.key"
		}
	}
	var bootstrap bytes.Buffer
	if err := WriteBootstrap(&bootstrap, b); err != nil {
		return nil, err
	}
	files := []kubernetesFile{{"envoy.yaml", bootstrap.String()}}
	if k.TLSSecret == "" {
		return files, nil
	}
	// When cert-manager renews the files, Envoy notices, since it watches their folder.
	const head = "resources:\n  - \"@type\": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret\n"
	files = append(files, kubernetesFile{"authorities.yaml", head + fmt.Sprintf("    name: authorities\n    validation_context:\n      trusted_ca: {filename: %q}\n", b.TLS.Authorities)})
	if !k.Anonymous {
		files = append(files, kubernetesFile{"client.yaml", head + fmt.Sprintf("    name: client\n    tls_certificate:\n      certificate_chain: {filename: %q}\n      private_key: {filename: %q}\n", b.TLS.Certificate, b.TLS.Key)})
	}
	return files, nil
}
