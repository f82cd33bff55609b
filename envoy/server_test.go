package envoy

import (
	"net"
	"strings"
	"testing"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"

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

func TestALargeRequestGetsADecisionAndNoError(t *testing.T) {
	s := NewServer(ServerConfig{Reflection: true}, service(t, EncoderConfig{}, func(*authz.Request) (authz.Decision, error) {
		return authz.Decision{Reason: authz.ReasonMissing}, nil
	}))
	c := dial(t, s)
	res, err := authv3.NewAuthorizationClient(c).Check(t.Context(), request("/", map[string]string{"x-large": strings.Repeat("a", 5<<20)}))
	if err != nil || res.GetDeniedResponse() == nil {
		t.Fatalf("got %v, %v", res, err)
	}
}

func TestHealthFollowsSetServing(t *testing.T) {
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
