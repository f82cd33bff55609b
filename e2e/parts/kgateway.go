package parts

import (
	"fmt"
	"strings"
	"testing"
)

// StartKgateway runs kgateway on a Kubernetes API, and an Envoy that takes the
// configuration of the Gateway of the given name from it. Ports of its own are fixed, so
// it has to be alone in a network; see Isolated.
func StartKgateway(tb testing.TB, k *Kubernetes, gateway Metadata, envoyVersion string, admin int) {
	tb.Helper()
	k.Apply("apiVersion: v1\nkind: Namespace\nmetadata: {name: kgateway-system}\n")
	xds := freePort(tb)
	start(tb, "kgateway", []string{
		"KUBECONFIG=" + k.Kubeconfig, "POD_NAMESPACE=kgateway-system", "DISABLE_POD_LOCALITY_XDS=true", "KGW_XDS_AUTH=false", "KGW_XDS_SERVICE_HOST=127.0.0.1",
		fmt.Sprintf("KGW_XDS_SERVICE_PORT=%d", xds), "KGW_ENABLE_AGENTGATEWAY=false", "KGW_DISABLE_LEADER_ELECTION=true", "KGW_LISTENER_BIND_IPV6=false", "KGW_LOG_LEVEL=warn",
	}, ControlPlanePart(tb, "kgateway", "kgateway"))
	StartEnvoy(tb, envoyVersion, strings.NewReplacer("{GATEWAY}", gateway.Name, "{NAMESPACE}", gateway.Namespace, "{XDS}", fmt.Sprint(xds), "{ADMIN}", fmt.Sprint(admin)).Replace(kgatewayBootstrap), admin)
}

// kgatewayBootstrap is what its pods start with, but for the token that they show.
const kgatewayBootstrap = `
node:
  id: "{GATEWAY}-0.{NAMESPACE}"
  cluster: "{GATEWAY}.{NAMESPACE}"
  metadata: {role: "kgateway-kube-gateway-api~{NAMESPACE}~{GATEWAY}"}
admin: {address: {socket_address: {address: 127.0.0.1, port_value: {ADMIN}}}}
dynamic_resources:
  ads_config:
    api_type: GRPC
    transport_api_version: V3
    rate_limit_settings: {}
    grpc_services: [{envoy_grpc: {cluster_name: xds_cluster}}]
  lds_config: {ads: {}, resource_api_version: V3}
  cds_config: {ads: {}, resource_api_version: V3}
static_resources:
  clusters:
    - name: xds_cluster
      type: STATIC
      connect_timeout: 5s
      typed_extension_protocol_options:
        envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
          "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
          explicit_http_config: {http2_protocol_options: {}}
      load_assignment:
        cluster_name: xds_cluster
        endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: {XDS}}}}}]}]
`
