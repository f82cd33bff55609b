package parts

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
)

// StartEnvoyGateway runs Envoy Gateway on a Kubernetes API, with the GatewayClass
// eg, whose Gateways it runs as Envoys of a version on this machine. Its ports are
// fixed, so it has to be alone in a network; see Isolated.
func StartEnvoyGateway(tb testing.TB, k *Kubernetes, envoyVersion string) {
	tb.Helper()
	program, dir := KubernetesPart(tb, "envoy-gateway"), tb.TempDir()
	envoy, err := EnvoyPath(envoyVersion)
	if err != nil {
		Missing(tb, err)
	}
	// It takes an Envoy that lies there, and would fetch one otherwise.
	bin := filepath.Join(dir, "data", "envoy-versions", envoyVersion, "bin")
	if err := os.MkdirAll(bin, 0o700); err != nil {
		tb.Fatal(err)
	}
	if err := os.Symlink(envoy, filepath.Join(bin, "envoy")); err != nil {
		tb.Fatal(err)
	}
	k.Apply(fmt.Sprintf(`
apiVersion: v1
kind: Namespace
metadata: {name: envoy-gateway-system}
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: EnvoyProxy
metadata: {name: tests, namespace: envoy-gateway-system}
spec: {provider: {type: Host, host: {envoyVersion: %q}}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: eg}
spec:
  controllerName: gateway.envoyproxy.io/gatewayclass-controller
  parametersRef: {group: gateway.envoyproxy.io, kind: EnvoyProxy, name: tests, namespace: envoy-gateway-system}
`, envoyVersion))
	env := []string{"KUBECONFIG=" + k.Kubeconfig, "ENVOY_GATEWAY_NAMESPACE=envoy-gateway-system"}
	certgen := exec.Command(program, "certgen", "--disable-topology-injector")
	certgen.Env = append(os.Environ(), env...)
	if said, err := certgen.CombinedOutput(); err != nil {
		tb.Fatalf("certgen: %v: %s", err, said)
	}
	certificates := func(name string) (folder string) { // where it looks outside of a cluster
		folder = filepath.Join(dir, "config", "certs", name)
		var secret struct{ Data map[string][]byte }
		if err := k.Get(Object{APIVersion: "v1", Kind: "Secret", Metadata: Metadata{name, "envoy-gateway-system"}}, &secret); err != nil {
			tb.Fatal(err)
		}
		for file, content := range secret.Data {
			write(tb, filepath.Join(folder, file), string(content))
		}
		return folder
	}
	certificates("envoy")
	root := rootWith(tb, certificates("envoy-gateway"), "certs")
	file := filepath.Join(dir, "gateway.yaml")
	write(tb, file, fmt.Sprintf(`
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: EnvoyGateway
gateway: {controllerName: gateway.envoyproxy.io/gatewayclass-controller}
provider:
  type: Custom
  custom:
    resource: {type: Kubernetes, kubernetes: {leaderElection: {disable: true}}}
    infrastructure: {type: Host, host: {configHome: %q, dataHome: %q, stateHome: %q, runtimeDir: %q}}
logging: {level: {default: warn}}
`, filepath.Join(dir, "config"), filepath.Join(dir, "data"), filepath.Join(dir, "state"), filepath.Join(dir, "run")))
	startIn(tb, root, "envoy-gateway", env, program, "server", "--config-path", file)
}

// rootWith is the root folder with one folder more, for a program that reads
// what can't be named otherwise. It is put together from mounts that only this
// process and its children see (Isolated). Nothing below it may be removed here,
// where that would remove the real thing: its folder is left to Isolated, outside,
// where nothing is mounted.
func rootWith(tb testing.TB, source, name string) string {
	tb.Helper()
	must := func(err error) {
		tb.Helper()
		if err != nil {
			tb.Fatal(err)
		}
	}
	if !isolated() {
		tb.Fatal("mounts are made in isolated tests alone")
	}
	root, err := os.MkdirTemp("", "root")
	must(err)
	entries, err := os.ReadDir("/")
	must(err)
	must(syscall.Mount("tests", root, "tmpfs", 0, "mode=755"))
	for _, e := range entries {
		from, to := "/"+e.Name(), filepath.Join(root, e.Name())
		switch {
		case e.Type()&os.ModeSymlink != 0:
			target, err := os.Readlink(from)
			must(err)
			must(os.Symlink(target, to))
		case e.IsDir() && e.Name() != name:
			must(os.Mkdir(to, 0o755))
			must(syscall.Mount(from, to, "", syscall.MS_BIND|syscall.MS_REC, ""))
		}
	}
	must(os.Mkdir(filepath.Join(root, name), 0o755))
	must(syscall.Mount(source, filepath.Join(root, name), "", syscall.MS_BIND, ""))
	return root
}
