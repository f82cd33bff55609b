package parts

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
)

// Istiod is Istio's control plane.
type Istiod struct {
	tb   testing.TB
	port int // for xDS in plain text
}

// StartIstiod runs istiod on a Kubernetes API, with a mesh configuration. It adds
// settings with which a stock Envoy can run istiod's output: Istio's own filters and
// certificates are left out.
func StartIstiod(tb testing.TB, k *Kubernetes, mesh string) *Istiod {
	tb.Helper()
	k.Apply("apiVersion: v1\nkind: Namespace\nmetadata: {name: istio-system}\n")
	file := filepath.Join(tb.TempDir(), "mesh.yaml")
	write(tb, file, mesh+"\nenableAutoMtls: false\ndefaultProviders: {metrics: []}\n")
	i := &Istiod{tb, freePort(tb)}
	http := freePort(tb)
	p := start(tb, "istiod", []string{
		"POD_NAMESPACE=istio-system", "POD_NAME=istiod", "PILOT_ENABLE_METADATA_EXCHANGE=false", "PILOT_ENABLE_ALPN_FILTER=false",
		"ENABLE_CA_SERVER=false", "PILOT_CERT_PROVIDER=none", "XDS_AUTH=false", "INJECTION_WEBHOOK_CONFIG_NAME=", "VALIDATION_WEBHOOK_CONFIG_NAME=",
	}, KubernetesPart(tb, "pilot-discovery"), "discovery", "--kubeconfig", k.Kubeconfig, "--meshConfig", file,
		"--grpcAddr", fmt.Sprintf("127.0.0.1:%d", i.port), "--httpAddr", fmt.Sprintf("127.0.0.1:%d", http), "--monitoringAddr", fmt.Sprintf("127.0.0.1:%d", freePort(tb)),
		"--httpsAddr", "", "--secureGRPCAddr", "", "--log_output_level", "default:warn")
	p.await(fmt.Sprintf("http://127.0.0.1:%d/ready", http))
	return i
}

// Workload is a pod as Istio sees it.
type Workload struct {
	Kind               string // router (for a gateway) or sidecar
	Address, Namespace string
	Label, Value       string
}

// StartProxy runs a stock Envoy that takes a workload's configuration from
// istiod, with its admin listener on a port.
func (i *Istiod) StartProxy(tb testing.TB, version string, w Workload, admin int) {
	tb.Helper()
	StartEnvoy(tb, version, strings.NewReplacer("{KIND}", w.Kind, "{ADDRESS}", w.Address, "{NAMESPACE}", w.Namespace, "{LABEL}", w.Label, "{VALUE}", w.Value,
		"{ADMIN}", fmt.Sprint(admin), "{ISTIOD}", fmt.Sprint(i.port)).Replace(istioBootstrap), admin)
}

const istioBootstrap = `
node:
  id: "{KIND}~{ADDRESS}~{VALUE}-1.{NAMESPACE}~{NAMESPACE}.svc.cluster.local"
  cluster: "{VALUE}.{NAMESPACE}"
  metadata:
    NAMESPACE: "{NAMESPACE}"
    NAME: "{VALUE}-1"
    LABELS: {"{LABEL}": "{VALUE}"}
    INSTANCE_IPS: "{ADDRESS}"
    CLUSTER_ID: Kubernetes
    ISTIO_VERSION: "1.31.0"
admin: {address: {socket_address: {address: 127.0.0.1, port_value: {ADMIN}}}}
dynamic_resources:
  ads_config:
    api_type: DELTA_GRPC
    transport_api_version: V3
    grpc_services: [{envoy_grpc: {cluster_name: istiod}}]
  lds_config: {ads: {}, resource_api_version: V3}
  cds_config: {ads: {}, resource_api_version: V3}
static_resources:
  clusters:
    - name: istiod
      type: STATIC
      connect_timeout: 1s
      typed_extension_protocol_options:
        envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
          "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
          explicit_http_config: {http2_protocol_options: {}}
      load_assignment:
        cluster_name: istiod
        endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: {ISTIOD}}}}}]}]
`
