package e2e

import (
	"context"
	"net"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"extauthz/e2e/parts"
)

// TestGRPC_DenialsAreReadable: a gRPC call through Envoy is mapped by service and method,
// and a denial is a gRPC status with a readable text.
func TestGRPC_DenialsAreReadable(t *testing.T) {
	onEach(t, func(t *testing.T, version string) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		upstream := grpc.NewServer()
		healthv1.RegisterHealthServer(upstream, health.NewServer())
		go func() { _ = upstream.Serve(l) }()
		t.Cleanup(upstream.Stop)
		s := parts.StartService(t, ``)
		const cluster = "    - name: upstream\n"
		listen := startGateway(t, version, s.GRPC, l.Addr().String(), cluster, cluster+`      typed_extension_protocol_options:
        envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
          "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
          explicit_http_config: {http2_protocol_options: {}}
`)
		c, err := grpc.NewClient("passthrough:///"+listen, grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.Close() }()
		call := func(key string) error {
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			if key != "" {
				ctx = metadata.AppendToOutgoingContext(ctx, "x-api-key", key)
			}
			_, err := healthv1.NewHealthClient(c).Check(ctx, &healthv1.HealthCheckRequest{})
			return err
		}
		may, mayNot := s.NewKey("--scope", "grpc.health.v1.Health:check").Key, s.NewKey("--scope", "grpc.health.v1.Health:watch").Key
		if err := call(may); err != nil {
			t.Errorf("with its scope: %v", err)
		}
		for key, want := range map[string]codes.Code{"": codes.Unauthenticated, "nonsense": codes.Unauthenticated, mayNot: codes.PermissionDenied} {
			if got := status.Convert(call(key)); got.Code() != want || got.Message() == "" || got.Message()[0] == '{' {
				t.Errorf("got %v, want %v with a text for people", got, want)
			}
		}
	})
}

// TestProtocols_UpgradesAndTunnelsAreChecked: websocket upgrades like any request,
// CONNECT by host and method.
func TestProtocols_UpgradesAndTunnelsAreChecked(t *testing.T) {
	onEach(t, func(t *testing.T, version string) {
		const last = `                        - match: {prefix: "/"}`
		s := newStack(t, version, `{default_route: map, routes: [{match: "CONNECT api.example.com/", resource: tunnels, action: open}]}`,
			"                use_remote_address: true", "                use_remote_address: true\n                upgrade_configs: [{upgrade_type: websocket}, {upgrade_type: CONNECT}]",
			last, `                        - match: {connect_matcher: {}}
                          route: {cluster: upstream, upgrade_configs: [{upgrade_type: CONNECT}]}
`+last)
		key := "x-api-key: " + s.NewKey("--scope", "chat:read").Key
		upgrade := []string{"upgrade: websocket", "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==", "sec-websocket-version: 13"}
		s.denied(s.upgrade("GET", "/chat", upgrade...), 401, "missing_key")
		if a := s.upgrade("GET", "/chat", append(upgrade, key)...); !a.reached {
			t.Errorf("an upgrade with a key: %d %s", a.status, a.body)
		}
		tunnel := "x-api-key: " + s.NewKey("--scope", "tunnels:open").Key
		if a := s.upgrade("CONNECT", "api.example.com:443", key); a.status != 403 || a.reached {
			t.Errorf("CONNECT without the scope: %d", a.status)
		}
		if a := s.upgrade("CONNECT", "api.example.com:443", tunnel); !a.reached {
			t.Errorf("CONNECT with its scope: %d %s", a.status, a.body)
		}
	})
}
