package e2e

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"extauthz/e2e/parts"
)

// printedObject has the fields of a printed object that these tests read.
type printedObject struct {
	Kind string
	Data map[string]string
	Spec struct {
		Template struct {
			Spec struct {
				Containers []struct {
					Lifecycle struct {
						PreStop struct{ Exec struct{ Command []string } } `yaml:"preStop"`
					}
				}
			}
		}
	}
}

// secretVolume is a folder like the one that Kubernetes mounts for a Secret: links to
// files that are replaced together.
type secretVolume struct {
	t   *testing.T
	dir string
	n   int
}

// hold makes the volume contain these files (name to the path of a file) from now on.
func (v *secretVolume) hold(files map[string]string) {
	v.t.Helper()
	v.n++
	data := fmt.Sprintf("..%d", v.n)
	must := func(err error) {
		v.t.Helper()
		if err != nil {
			v.t.Fatal(err)
		}
	}
	must(os.MkdirAll(filepath.Join(v.dir, data), 0o700))
	for name, path := range files {
		text, err := os.ReadFile(path)
		must(err)
		must(os.WriteFile(filepath.Join(v.dir, data, name), text, 0o600))
		if v.n == 1 {
			must(os.Symlink("..data/"+name, filepath.Join(v.dir, name)))
		}
	}
	must(os.Symlink(data, filepath.Join(v.dir, "..new")))
	must(os.Rename(filepath.Join(v.dir, "..new"), filepath.Join(v.dir, "..data")))
}

// inPod runs what `envoy kubernetes` prints as the pod would: the ConfigMap's files are
// in one folder, the Secret's in another. Ports are replaced by free ones of this
// machine.
func inPod(t *testing.T, s *stack, version string, secret *secretVolume, flags ...string) (ready string, preStop []string) {
	t.Helper()
	_, upstreamPort, _ := strings.Cut(s.upstream.Address, ":")
	_, servicePort, _ := strings.Cut(s.GRPC, ":")
	text := s.Must(append([]string{"envoy", "kubernetes", "--upstream", "upstream.test:" + upstreamPort, "--service", "extauthz.test:" + servicePort}, flags...)...)
	listen, admin, probe, files := freePort(t), freePort(t), freePort(t), t.TempDir()
	here := strings.NewReplacer("upstream.test", "127.0.0.1", "extauthz.test", "127.0.0.1", "0.0.0.0", "127.0.0.1", "127.0.0.1/9901", fmt.Sprintf("127.0.0.1/%d", admin),
		"port_value: 10000", fmt.Sprintf("port_value: %d", listen), "port_value: 9901", fmt.Sprintf("port_value: %d", admin), "port_value: 9902", fmt.Sprintf("port_value: %d", probe),
		"/etc/envoy-tls", secret.dir, `"/etc/envoy/`, `"`+files+"/", "sleep 15", "sleep 0")
	configuration := ""
	for d := yaml.NewDecoder(strings.NewReader(text)); ; {
		var o printedObject
		if err := d.Decode(&o); err != nil {
			break
		}
		for name, entry := range o.Data {
			entry = here.Replace(entry)
			if name == "envoy.yaml" {
				configuration = entry
			}
			if err := os.WriteFile(filepath.Join(files, name), []byte(entry), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if o.Kind == "Deployment" {
			for _, word := range o.Spec.Template.Spec.Containers[0].Lifecycle.PreStop.Exec.Command {
				preStop = append(preStop, here.Replace(word))
			}
		}
	}
	s.gateway, s.admin, ready = fmt.Sprintf("127.0.0.1:%d", listen), fmt.Sprintf("127.0.0.1:%d", admin), fmt.Sprintf("http://127.0.0.1:%d/ready", probe)
	parts.StartEnvoy(t, version, configuration, admin)
	return ready, preStop
}

// TestEnvoyKubernetes_TakesRenewedCertificates: certificates are renewed while Envoy
// runs, as cert-manager does it. Afterwards the service accepts only those of another
// authority.
func TestEnvoyKubernetes_TakesRenewedCertificates(t *testing.T) {
	onEach(t, func(t *testing.T, version string) {
		a, next, own := parts.NewAuthority(t), parts.NewAuthority(t), t.TempDir()
		server, gateway := a.Issue(t.TempDir(), "extauthz.extauthz.svc"), a.Issue(t.TempDir(), "gateway.extauthz.extauthz")
		callers := filepath.Join(own, "callers.pem")
		trust := func(authority *parts.Authority) {
			t.Helper()
			text, err := os.ReadFile(authority.CAFile)
			if err == nil {
				err = os.WriteFile(callers+".new", text, 0o600)
			}
			if err == nil {
				err = os.Rename(callers+".new", callers)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		trust(a)
		s := &stack{t: t, upstream: parts.StartUpstream(t), Service: parts.StartService(t, fmt.Sprintf(
			`grpc: {tls: {cert_file: %q, key_file: %q, client_ca_file: %q}, max_connection_age: 1s, max_connection_age_grace: 1s}`, server.CertFile, server.KeyFile, callers))}
		secret := &secretVolume{t: t, dir: t.TempDir()}
		secret.hold(map[string]string{"ca.crt": a.CAFile, "tls.crt": gateway.CertFile, "tls.key": gateway.KeyFile})
		inPod(t, s, version, secret, "--tls-secret", "extauthz-gateway", "--tls-name", "extauthz.extauthz.svc")
		key := "x-api-key: " + s.NewKey("--scope", "orders:read").Key
		allowed := func() error {
			if a := s.ask("GET", "/orders", key); a.status != 200 {
				return fmt.Errorf("got %d %s", a.status, a.body)
			}
			return nil
		}
		eventually(t, allowed)

		renewed := next.Issue(t.TempDir(), "gateway.extauthz.extauthz")
		secret.hold(map[string]string{"ca.crt": a.CAFile, "tls.crt": renewed.CertFile, "tls.key": renewed.KeyFile})
		trust(next)
		// Connections from before the renewal end by their age within two seconds. After
		// that the old certificate would be refused.
		for until := time.Now().Add(4 * time.Second); time.Now().Before(until); {
			_ = allowed()
		}
		eventually(t, allowed)
		for range 20 {
			if err := allowed(); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// TestEnvoyKubernetes_AnnouncesItsEnd: the command that Kubernetes runs before it ends a
// pod makes the pod not ready. Its answers then close their connections, and requests are
// still served.
func TestEnvoyKubernetes_AnnouncesItsEnd(t *testing.T) {
	onEach(t, func(t *testing.T, version string) {
		s := &stack{t: t, upstream: parts.StartUpstream(t), Service: parts.StartService(t, "")}
		ready, preStop := inPod(t, s, version, &secretVolume{t: t, dir: t.TempDir()})
		key := s.NewKey("--scope", "orders:read").Key
		get := func(url string) (status int, closes bool) {
			t.Helper()
			req, err := http.NewRequest(http.MethodGet, url, nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("x-api-key", key)
			res, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			_ = res.Body.Close()
			return res.StatusCode, res.Close
		}
		api := "http://" + s.gateway + "/orders"
		eventually(t, func() error {
			if status, closes := get(api); status != 200 || closes {
				return fmt.Errorf("%d, closes: %v", status, closes)
			}
			return nil
		})
		if status, _ := get(ready); status != 200 {
			t.Errorf("not ready: %d", status)
		}
		if len(preStop) != 3 {
			t.Fatalf("preStop: %q", preStop)
		}
		said, err := exec.Command(preStop[0], preStop[1:]...).CombinedOutput() // #nosec G204 -- what we print
		if err != nil || !strings.Contains(string(said), "200 OK") {
			t.Fatalf("%v: %s", err, said)
		}
		if status, _ := get(ready); status != http.StatusServiceUnavailable {
			t.Errorf("still ready: %d", status)
		}
		if status, closes := get(api); status != 200 || !closes {
			t.Errorf("a request meanwhile: %d, its connection is closed: %v", status, closes)
		}
	})
}
