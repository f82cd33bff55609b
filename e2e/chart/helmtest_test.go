package chart

import (
	"crypto/sha256"
	"fmt"
	"os"
	"strings"
	"testing"

	"extauthz/e2e/parts"
)

// testPod returns the pod that `helm test` would run, laid out as Kubernetes does it, and
// its command with the addresses of a service on this machine.
func testPod(t *testing.T, c cluster, all []object, service *parts.Pod) (*parts.Pod, []string) {
	t.Helper()
	o := find(t, all, "Pod", "extauthz-test")
	pod := newPod(t, c, object{"spec": map[string]any{"template": map[string]any{"spec": o.at("spec")}}})
	var args []string
	for _, a := range object(o.at("spec").(map[string]any)).items("containers")[0].at("args").([]any) {
		arg := a.(string)
		switch name, value, _ := strings.Cut(arg, "="); name {
		case "--ops":
			arg = "--ops=http://" + service.Ops
		case "--grpc":
			if !strings.HasSuffix(value, ".extauthz.svc:9001") {
				t.Errorf("it asks for decisions at %s", value)
			}
			arg = "--grpc=" + service.GRPC
		}
		args = append(args, arg)
	}
	return pod, args
}

// TestHelmTest_TheDigestIsOfTheConfigMap: the digest is that of the installed ConfigMap,
// byte for byte. Otherwise the test would wait for a configuration that never comes.
func TestHelmTest_TheDigestIsOfTheConfigMap(t *testing.T) {
	for _, scenario := range scenarios(t) {
		t.Run(scenario, func(t *testing.T) {
			t.Parallel()
			name, all := "extauthz", objects(t, render(t, chartDir, "-f", valuesFile(scenario)))
			if scenario == "restricted" {
				name = "authz"
			}
			text := find(t, all, "ConfigMap", name).text("data", "extauthz.yaml")
			want := fmt.Sprintf("--config-digest=%x", sha256.Sum256([]byte(text)))
			pod := object(find(t, all, "Pod", name+"-test").at("spec").(map[string]any))
			for _, a := range pod.items("containers")[0].at("args").([]any) {
				if a == want {
					return
				}
			}
			t.Errorf("no %s", want)
		})
	}
	// A document beside the configuration counts too.
	digest := func(args ...string) string {
		all := objects(t, render(t, chartDir, append([]string{"-f", valuesFile("forward-auth")}, args...)...))
		return find(t, all, "ConfigMap", "extauthz").text("data", "extauthz.yaml")
	}
	if digest() == digest("--set", "configFiles.other=text") {
		t.Error("a file beside the configuration does not change it")
	}
}

// TestHelmTest_ChecksTheInstalledService runs the test as its pod would: on SQLite, and
// with mTLS on Postgres, where it shows the gateways' certificate.
func TestHelmTest_ChecksTheInstalledService(t *testing.T) {
	if testing.Short() {
		t.Skip("starts the service")
	}
	for _, scenario := range []string{"sqlite", "mtls"} {
		t.Run(scenario, func(t *testing.T) {
			c := cluster{}
			if scenario == "mtls" {
				c = newCluster(t, parts.StartPostgres(t).NewDatabase(t))
				issued(t, c)
			}
			all := objects(t, render(t, chartDir, "-f", valuesFile(scenario)))
			c.add(t, all)
			service := newPod(t, c, find(t, all, "Deployment", "extauthz"))
			service.Serve()
			pod, args := testPod(t, c, all, service)
			out, errOut, err := pod.Run(args...)
			if err != nil || !strings.Contains(out, "an unknown key: denied (unknown_key); no key: denied (missing_key)") {
				t.Fatalf("%v: %s%s", err, out, errOut)
			}

			// The release is upgraded with a value that the service refuses; its next
			// test fails.
			all = objects(t, render(t, chartDir, "-f", valuesFile(scenario), "--set", "config.routes[0].match=GET orders{,config.routes[0].resource=orders"))
			c.add(t, all)
			pod, args = testPod(t, c, all, service)
			service.Write("/etc/extauthz/extauthz.yaml", c.entry(t, "ConfigMap/extauthz", "extauthz.yaml"), 0o444)
			out, errOut, err = pod.Run(args...)
			if err == nil || !strings.Contains(out, "configuration_refused") || !strings.Contains(out, "GET orders{") {
				t.Errorf("a refused configuration: %v: %s%s", err, out, errOut)
			}
		})
	}
}

// issued puts certificates into a cluster as cert-manager would for the scenario mtls.
func issued(t *testing.T, c cluster) {
	t.Helper()
	a := parts.NewAuthority(t)
	read := func(path string) string {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	for secret, name := range map[string]string{"extauthz-tls": "extauthz.extauthz.svc", "extauthz-gateway": "gateway.extauthz.extauthz"} {
		pair := a.Issue(t.TempDir(), name)
		c["Secret/"+secret] = map[string]string{"tls.crt": read(pair.CertFile), "tls.key": read(pair.KeyFile), "ca.crt": read(a.CAFile)}
	}
}
