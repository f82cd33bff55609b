package parts

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
)

// StartEnvoyGateway runs Envoy Gateway on a Kubernetes API, with the GatewayClass eg. It
// runs the Gateways of this class as Envoys of a version on this machine. Its ports are
// fixed, so it has to be alone in a network; see Isolated.
func StartEnvoyGateway(tb testing.TB, k *Kubernetes, envoyVersion string) {
	tb.Helper()
	startEnvoyGateway(tb, k, envoyVersion, "")
}

// StartEnvoyGatewayWithRates also runs its rate-limit service, on a Redis, at a port of
// 127.0.0.1. In a cluster Envoy Gateway runs this service in a pod of its own. The
// Gateway of the given name gets the address.
func StartEnvoyGatewayWithRates(tb testing.TB, k *Kubernetes, envoyVersion string, redis *Redis, gateway Metadata) {
	tb.Helper()
	limiter, err := buildRateLimit()
	if err != nil {
		tb.Fatal(err)
	}
	certificates := startEnvoyGateway(tb, k, envoyVersion, fmt.Sprintf(`
rateLimit: {backend: {type: Redis, redis: {url: "localhost:%d"}}, failClosed: true}
extensionApis: {enableEnvoyPatchPolicy: true}
`, redis.port))
	port, proof := freePort(tb), certificates("envoy-rate-limit")
	k.Apply(fmt.Sprintf(`
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: EnvoyPatchPolicy
metadata: {name: tests, namespace: %s}
spec:
  targetRef: {group: gateway.networking.k8s.io, kind: Gateway, name: %s}
  type: JSONPatch
  jsonPatches:
    - type: type.googleapis.com/envoy.config.cluster.v3.Cluster
      name: ratelimit_cluster
      operation:
        op: replace
        path: /load_assignment/endpoints/0/lb_endpoints/0/endpoint/address/socket_address
        value: {address: 127.0.0.1, port_value: %d}
`, gateway.Namespace, gateway.Name, port))
	certificate, key, authority := filepath.Join(proof, "tls.crt"), filepath.Join(proof, "tls.key"), filepath.Join(proof, "ca.crt")
	runRateLimit(tb, limiter, redis, port, // as Envoy Gateway does in a cluster
		"CONFIG_TYPE=GRPC_XDS_SOTW", "CONFIG_GRPC_XDS_NODE_ID=envoy-ratelimit", "CONFIG_GRPC_XDS_SERVER_URL=127.0.0.1:18001", "FORCE_START_WITHOUT_INITIAL_CONFIG=true",
		"CONFIG_GRPC_XDS_SERVER_USE_TLS=true", "CONFIG_GRPC_XDS_CLIENT_TLS_CERT="+certificate, "CONFIG_GRPC_XDS_CLIENT_TLS_KEY="+key, "CONFIG_GRPC_XDS_SERVER_TLS_CACERT="+authority, "CONFIG_GRPC_XDS_SERVER_TLS_SAN=envoy-gateway",
		"GRPC_SERVER_USE_TLS=true", "GRPC_SERVER_TLS_CERT="+certificate, "GRPC_SERVER_TLS_KEY="+key, "GRPC_CLIENT_TLS_CACERT="+authority)
}

// startEnvoyGateway runs it with additions to its own configuration. It returns the
// folder of the certificates that it made for a part.
func startEnvoyGateway(tb testing.TB, k *Kubernetes, envoyVersion, more string) (certificates func(name string) (folder string)) {
	tb.Helper()
	program, dir := KubernetesPart(tb, "envoy-gateway"), tb.TempDir()
	envoy, err := EnvoyPath(envoyVersion)
	if err != nil {
		Missing(tb, err)
	}
	// It uses an Envoy that exists here, and would otherwise download one.
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
	certificates = func(name string) (folder string) { // where it searches outside a cluster
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
%s
`, filepath.Join(dir, "config"), filepath.Join(dir, "data"), filepath.Join(dir, "state"), filepath.Join(dir, "run"), more))
	startIn(tb, root, "envoy-gateway", env, program, "server", "--config-path", file)
	return certificates
}

// rootWith makes a root folder that has one more folder than the real one, for a program
// with fixed paths. It consists of mounts that only this process and its children see
// (Isolated). Nothing below it may be removed here, since that would remove the real
// files. So its folder is left to Isolated, which removes it from outside, where nothing
// is mounted.
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
