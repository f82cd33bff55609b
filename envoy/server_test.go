package envoy

import (
	"cmp"
	"net"
	"strings"
	"testing"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"extauthz/authz"
)

func dial(t *testing.T, s *Server) *grpc.ClientConn {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	c, err := grpc.NewClient("passthrough:///"+l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Close()
		s.Stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return c
}

// TestNewServer_ARequestWithinTheLimitIsDecidedAbout: a larger request fails without
// affecting others.
func TestNewServer_ARequestWithinTheLimitIsDecidedAbout(t *testing.T) {
	for name, config := range map[string]ServerConfig{"wire": {Reflection: true}, "protobuf": {Protobuf: true}, "a higher limit": {MaxMessage: 8 << 20}} {
		t.Run(name, func(t *testing.T) {
			s := NewServer(config, service(t, EncoderConfig{}, allow(authz.Record{})))
			c := authv3.NewAuthorizationClient(dial(t, s))
			for _, size := range []int{40 << 10, DefaultMaxMessage - 1<<10, DefaultMaxMessage, 5 << 20, 9 << 20, 1} {
				res, err := c.Check(t.Context(), request("/", map[string]string{"x-large": strings.Repeat("a", size)}))
				want := codes.OK
				if size >= cmp.Or(config.MaxMessage, DefaultMaxMessage) {
					want = codes.ResourceExhausted
				}
				if status.Code(err) != want || (res.GetOkResponse() != nil) != (want == codes.OK) {
					t.Errorf("%d bytes: got %v, %v, want %v", size, res, err, want)
				}
			}
		})
	}
}

// TestNewServer_LargeMetadataIsRefused: only the call fails, not the connection.
func TestNewServer_LargeMetadataIsRefused(t *testing.T) {
	s := NewServer(ServerConfig{}, service(t, EncoderConfig{}, allow(authz.Record{})))
	c := authv3.NewAuthorizationClient(dial(t, s))
	for size, fits := range map[int]bool{1 << 10: true, 100 << 10: true, 129 << 10: false} {
		ctx := metadata.AppendToOutgoingContext(t.Context(), "x-large", strings.Repeat("a", size))
		if _, err := c.Check(ctx, request("/", nil)); (err == nil) != fits {
			t.Errorf("%d bytes: %v", size, err)
		}
	}
}

func TestServer_HealthFollowsSetServing(t *testing.T) {
	s := NewServer(ServerConfig{}, service(t, EncoderConfig{}, allow(authz.Record{})))
	c := healthv1.NewHealthClient(dial(t, s))
	for _, serving := range []bool{false, true, false} {
		s.SetServing(serving)
		for _, name := range []string{"", "envoy.service.auth.v3.Authorization"} {
			res, err := c.Check(t.Context(), &healthv1.HealthCheckRequest{Service: name})
			if err != nil || (res.GetStatus() == healthv1.HealthCheckResponse_SERVING) != serving {
				t.Errorf("%q: got %v, %v, want serving %v", name, res, err, serving)
			}
		}
	}
}
