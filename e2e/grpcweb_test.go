package e2e

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"

	"extauthz/e2e/parts"
)

const (
	healthCheck = "/grpc.health.v1.Health/Check"
	healthWatch = "/grpc.health.v1.Health/Watch"
)

// startWebUpstream starts an upstream that speaks gRPC and grpc-web.
func startWebUpstream(t *testing.T) (address string) {
	t.Helper()
	serving := &healthv1.HealthCheckResponse{Status: healthv1.HealthCheckResponse_SERVING}
	mux := http.NewServeMux()
	mux.Handle(healthCheck, connect.NewUnaryHandler(healthCheck, func(_ context.Context, _ *connect.Request[healthv1.HealthCheckRequest]) (*connect.Response[healthv1.HealthCheckResponse], error) {
		return connect.NewResponse(serving), nil
	}))
	mux.Handle(healthWatch, connect.NewServerStreamHandler(healthWatch, func(_ context.Context, _ *connect.Request[healthv1.HealthCheckRequest], stream *connect.ServerStream[healthv1.HealthCheckResponse]) error {
		return stream.Send(serving)
	}))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: mux, Protocols: new(http.Protocols), ReadHeaderTimeout: 10 * time.Second}
	server.Protocols.SetUnencryptedHTTP2(true)
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { _ = server.Close() })
	return l.Addr().String()
}

// TestGRPCWeb_ClientsReadDenials: a real client of grpc-web gets code and text of a
// denial, with and without Envoy's own filter before ours.
func TestGRPCWeb_ClientsReadDenials(t *testing.T) {
	const (
		cluster = "    - name: upstream\n"
		http2   = cluster + `      typed_extension_protocol_options:
        envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
          "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
          explicit_http_config: {http2_protocol_options: {}}
`
		filter    = "                  - name: envoy.filters.http.ext_authz\n"
		webFilter = `                  - name: envoy.filters.http.grpc_web
                    typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.grpc_web.v3.GrpcWeb}
`
	)
	onEach(t, func(t *testing.T, version string) {
		upstream := startWebUpstream(t)
		s := parts.StartService(t, `{denials: {overrides: {scope_missing: {detail: "Nicht für dich: 100 %"}}}, limits: {mode: service}}`)
		may := s.NewKey("--scope", "grpc.health.v1.Health:*").Key
		mayNot := s.NewKey("--scope", "orders:read").Key
		over := s.NewKey("--scope", "grpc.health.v1.Health:*", "--rate", "1/h").Key
		for name, edits := range map[string][]string{"alone": {cluster, http2}, "with Envoy's filter": {cluster, http2, filter, webFilter + filter}} {
			listen := startGateway(t, version, s.GRPC, upstream, edits...)
			for codec, options := range map[string][]connect.ClientOption{"proto": {connect.WithGRPCWeb()}, "json": {connect.WithGRPCWeb(), connect.WithProtoJSON()}} {
				t.Run(name+", "+codec, func(t *testing.T) {
					call := func(key string, stream bool) error {
						ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
						defer cancel()
						r := connect.NewRequest(&healthv1.HealthCheckRequest{})
						if key != "" {
							r.Header().Set("x-api-key", key)
						}
						if !stream {
							_, err := connect.NewClient[healthv1.HealthCheckRequest, healthv1.HealthCheckResponse](http.DefaultClient, "http://"+listen+healthCheck, options...).CallUnary(ctx, r)
							return err
						}
						messages, err := connect.NewClient[healthv1.HealthCheckRequest, healthv1.HealthCheckResponse](http.DefaultClient, "http://"+listen+healthWatch, options...).CallServerStream(ctx, r)
						if err != nil {
							return err
						}
						defer func() { _ = messages.Close() }()
						for messages.Receive() {
						}
						return messages.Err()
					}
					for _, stream := range []bool{false, true} {
						if err := call(may, stream); err != nil {
							t.Fatalf("with its scope: %v", err)
						}
						for _, c := range []struct {
							key  string
							code connect.Code
							text string
						}{{"", connect.CodeUnauthenticated, "needs an API key"}, {"nonsense", connect.CodeUnauthenticated, "not a complete API key"}, {mayNot, connect.CodePermissionDenied, "Nicht für dich: 100 %"}} {
							var got *connect.Error
							if err := call(c.key, stream); !errors.As(err, &got) || got.Code() != c.code || !strings.Contains(got.Message(), c.text) {
								t.Errorf("stream %v: got %v, want %v %s", stream, err, c.code, c.text)
							} else if leak := got.Meta().Get("x-extauthz-content-type"); leak != "" {
								t.Errorf("the client gets %q", leak)
							}
						}
					}
					_ = call(over, false)
					var got *connect.Error
					if err := call(over, false); !errors.As(err, &got) || got.Code() != connect.CodeResourceExhausted || got.Meta().Get("retry-after") == "" {
						t.Errorf("over its rate: got %v", err)
					}
				})
			}
		}
	})
}

// TestGRPCWeb_OtherResponsesKeepTheirType: or they have none.
func TestGRPCWeb_OtherResponsesKeepTheirType(t *testing.T) {
	onEach(t, func(t *testing.T, version string) {
		s := newStack(t, version, `routes: [{match: "/healthz", anonymous: true}]`)
		for _, kind := range []string{"application/grpc-web-text+proto", "Application/gRPC-Web; a=b"} {
			a := s.ask("POST", "/a.B/C", "content-type: "+kind, "content-length: 0")
			want, _, _ := strings.Cut(strings.ToLower(kind), ";")
			if a.status != 200 || a.reached || a.body != "" || a.header.Get("content-type") != want || a.header.Get("grpc-status") != "16" || a.header.Get("grpc-message") == "" {
				t.Errorf("%s: got %+v", kind, a)
			}
		}
		a := s.ask("GET", "/orders")
		s.denied(a, 401, "missing_key")
		if got := a.header.Values("content-type"); len(got) != 1 || got[0] != "application/problem+json" {
			t.Errorf("a denial has %q", got)
		}
		if got := s.ask("GET", "/healthz").header; len(got.Values("content-type")) > 1 || got.Get("x-extauthz-content-type") != "" {
			t.Errorf("an answer of the upstream has %q", got)
		}
	})
}
