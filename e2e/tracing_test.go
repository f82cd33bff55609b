package e2e

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"

	"extauthz/e2e/parts"
)

// tracer determines how an Envoy traces.
type tracer struct {
	provider string // a part of the connection manager
	collects func(*parts.Collector) string
	protocol string // a part of the collector's cluster
	// continued is a client's header that continues its trace; trace is the id of that
	// trace. foreign is a header that this tracer does not understand.
	continued, trace, foreign string
}

const (
	clientW3C = "traceparent: 00-11111111111111111111111111111111-2222222222222222-01"
	clientB3  = "b3: 33333333333333333333333333333333-4444444444444444-1"
)

var tracers = map[string]tracer{
	"opentelemetry": {
		provider: `{name: envoy.tracers.opentelemetry, typed_config: {"@type": type.googleapis.com/envoy.config.trace.v3.OpenTelemetryConfig,
                    grpc_service: {envoy_grpc: {cluster_name: collector}}, service_name: gateway}}`,
		collects: func(c *parts.Collector) string { return c.OTLP }, protocol: "http2_protocol_options: {}",
		continued: clientW3C, trace: strings.Repeat("1", 32), foreign: clientB3,
	},
	"zipkin": { // B3 in several headers; in one if the client sends it so
		provider: `{name: envoy.tracers.zipkin, typed_config: {"@type": type.googleapis.com/envoy.config.trace.v3.ZipkinConfig,
                    collector_cluster: collector, collector_endpoint: /api/v2/spans, collector_endpoint_version: HTTP_JSON}}`,
		collects: func(c *parts.Collector) string { return c.Zipkin }, protocol: "http_protocol_options: {}",
		continued: clientB3, trace: strings.Repeat("3", 32), foreign: clientW3C,
	},
}

const statPrefix = "stat_prefix: api"

// edits adds a tracer to a configuration.
func (tr tracer) edits(t *testing.T, c *parts.Collector, sampled int) []string {
	return []string{
		"static_resources:\n", `layered_runtime: {layers: [{name: static, static_layer: {tracing.opentelemetry.flush_interval_ms: 100, tracing.zipkin.flush_interval_ms: 100}}]}
static_resources:
`,
		statPrefix, statPrefix + fmt.Sprintf(`
                tracing:
                  random_sampling: {value: %d}
                  provider: %s`, sampled, tr.provider),
		"  clusters:\n", `  clusters:
    - name: collector
      type: STATIC
      typed_extension_protocol_options:
        envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
          "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
          explicit_http_config: {` + tr.protocol + `}
      load_assignment:
        cluster_name: collector
        endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: "127.0.0.1", port_value: ` + portOf(t, tr.collects(c)) + `}}}}]}]
`}
}

// ours waits for the span of a check with this decision and path, and for its parent,
// which has to be Envoy's span of the same trace.
func ours(t *testing.T, c *parts.Collector, decision, path, parentName string) (found parts.Span) {
	t.Helper()
	eventually(t, func() error {
		for _, s := range c.Spans() {
			if s.Service != "extauthz" || s.Attributes["extauthz.decision"] != decision || s.Attributes["extauthz.path"] != path {
				continue
			}
			for _, parent := range c.Spans() {
				if parent.Trace == s.Trace && parent.ID == s.Parent && parent.Service != "extauthz" && parent.Name == parentName {
					found = s
					return nil
				}
			}
			return fmt.Errorf("the parent of %+v is none of Envoy's", s)
		}
		return fmt.Errorf("no span of %s %s", decision, path)
	})
	return found
}

// TestTracing_SpansContinueEnvoysTrace: in each format that Envoy has, for allowed and
// for denied requests.
func TestTracing_SpansContinueEnvoysTrace(t *testing.T) {
	onEach(t, func(t *testing.T, version string) {
		for name, tr := range tracers {
			t.Run(name, func(t *testing.T) {
				c := parts.StartCollector(t)
				s := newStack(t, version, `telemetry: {otlp_endpoint: "http://`+c.OTLP+`"}`, tr.edits(t, c, 100)...)
				const check = "async envoy.service.auth.v3.Authorization.Check egress"
				key := "x-api-key: " + s.NewKey("--scope", "orders:read").Key

				s.allowed(s.ask("GET", "/orders/1?q=geheim", key, tr.foreign))
				span := ours(t, c, "allow", "/orders/1", check)
				if span.Name != "envoy.service.auth.v3.Authorization/Check" || span.Failed || span.Attributes["extauthz.reason"] != "granted" || span.Attributes["extauthz.resource"] != "orders" ||
					span.Attributes["rpc.system.name"] != "grpc" || span.Attributes["rpc.response.status_code"] != "OK" || len(span.Attributes["extauthz.request_id"]) != 36 {
					t.Errorf("got %+v", span)
				}
				eventually(t, func() error {
					for _, child := range c.Spans() {
						if child.Trace == span.Trace && child.Parent == span.ID && child.Name == "look up key" && child.Attributes["extauthz.cache.layer"] == span.Attributes["extauthz.cache.layer"] {
							return nil
						}
					}
					return fmt.Errorf("no span of the look-up below %+v", span)
				})
				s.denied(s.ask("POST", "/orders/2", key, tr.continued), 403, "scope_missing")
				span = ours(t, c, "deny", "/orders/2", check)
				if span.Trace != tr.trace || span.Failed || span.Attributes["extauthz.reason"] != "scope_missing" || span.Attributes["extauthz.cache.layer"] != "local" {
					t.Errorf("got %+v", span)
				}
				for _, s := range c.Spans() {
					if said := fmt.Sprint(s); s.Service == "extauthz" && (strings.Contains(said, strings.TrimPrefix(key, "x-api-key: ")) || strings.Contains(said, "geheim")) {
						t.Error("a span holds a key or a query")
					}
				}
			})
			t.Run(name+" over HTTP", func(t *testing.T) {
				c := parts.StartCollector(t)
				s := &stack{Service: parts.StartService(t, `telemetry: {otlp_endpoint: "http://`+c.OTLP+`"}`), t: t, upstream: parts.StartUpstream(t)}
				port, admin := strconv.Itoa(freePort(t)), freePort(t)
				s.gateway = "127.0.0.1:" + port
				example, err := os.ReadFile("../envoy/examples/envoy-http.yaml")
				if err != nil {
					t.Fatal(err)
				}
				edits := append(tr.edits(t, c, 100), "8080", port, "8081", portOf(t, s.upstream.Address), "9002", portOf(t, s.HTTP), "9090", portOf(t, s.Ops), "9901", strconv.Itoa(admin))
				parts.StartEnvoy(t, version, strings.NewReplacer(edits...).Replace(string(example)), admin)
				s.ask("GET", "/orders/1", tr.foreign)
				ours(t, c, "deny", "/orders/1", "async extauthz egress")
				s.allowed(s.ask("GET", "/orders/2", tr.continued, "x-api-key: "+s.NewKey("--scope", "orders:read").Key))
				if span := ours(t, c, "allow", "/orders/2", "async extauthz egress"); span.Trace != tr.trace || span.Name != "GET /check" {
					t.Errorf("got %+v", span)
				}
			})
		}
	})
}

// TestTracing_UnreachableCollectorCostsAFewLogLines: checks continue, and the service
// ends cleanly.
func TestTracing_UnreachableCollectorCostsAFewLogLines(t *testing.T) {
	onEach(t, func(t *testing.T, version string) {
		c := parts.StartCollector(t)
		s := newStack(t, version, `telemetry: {otlp_endpoint: "http://127.0.0.1:`+strconv.Itoa(freePort(t))+`"}`, tracers["opentelemetry"].edits(t, c, 100)...)
		for range 100 {
			s.denied(s.ask("GET", "/orders"), 401, "missing_key")
		}
		s.Stop()
		if n := strings.Count(s.Log(), "not delivered"); n == 0 || n > 2 {
			t.Errorf("%d lines report lost traces: %s", n, s.Log())
		}
	})
}

// TestTracing_EnvoyDecidesTheSampling: clients can't cause spans if Envoy does not trace.
func TestTracing_EnvoyDecidesTheSampling(t *testing.T) {
	onEach(t, func(t *testing.T, version string) {
		c := parts.StartCollector(t)
		traces := `telemetry: {otlp_endpoint: "http://` + c.OTLP + `"}`
		never := newStack(t, version, traces)
		seldom := newStack(t, version, traces, tracers["opentelemetry"].edits(t, c, 0)...)
		always := newStack(t, version, traces, tracers["opentelemetry"].edits(t, c, 100)...)
		for _, s := range []*stack{never, seldom} {
			s.denied(s.ask("GET", "/orders"), 401, "missing_key")
			s.denied(s.ask("GET", "/orders", clientB3), 401, "missing_key")
		}
		never.denied(never.ask("GET", "/orders", clientW3C), 401, "missing_key") // not seldom: depending on its version, that Envoy continues the trace
		always.denied(always.ask("GET", "/orders", strings.TrimSuffix(clientW3C, "1")+"0"), 401, "missing_key")
		always.denied(always.ask("GET", "/traced"), 401, "missing_key")
		for _, s := range []*stack{never, seldom, always} {
			s.Stop() // spans that wait are sent when the service ends
		}
		received := 0
		for _, s := range c.Spans() {
			if s.Service != "extauthz" {
				continue
			}
			if received++; s.Attributes["extauthz.path"] != "/traced" {
				t.Errorf("not asked for: %+v", s)
			}
		}
		if received != 1 {
			t.Errorf("%d spans, want 1", received)
		}
	})
}
