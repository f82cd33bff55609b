package envoy

import (
	"crypto/tls"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/reflection"
)

const (
	// minPingInterval is at or under what Envoy is set to: pings that come
	// oftener are answered by GOAWAY, which costs a client a request.
	minPingInterval = time.Second
	// maxReceive is what one CheckRequest may be. A larger one becomes a gRPC
	// error, which failure_mode_allow lets in, so the limit lies far over what
	// Envoy's own header and body limits let through.
	maxReceive = 64 << 20
	// streamWorkers keep the stacks that handling a call grew: 0.54 of an empty
	// server's CPU a check with 64 of them, 0.63 with none, the same with 256. Calls
	// beyond them have a goroutine each, so that none waits for another. Larger
	// buffers (128 KiB), a shared write buffer and windows of a fixed size changed
	// nothing beyond what was noise.
	streamWorkers = 64
)

// ServerConfig is how a gRPC server for Envoy is set up.
type ServerConfig struct {
	TLS                   *tls.Config   // nil: plain text
	MaxConnectionAge      time.Duration // 0: for ever; else connections spread over new replicas
	MaxConnectionAgeGrace time.Duration
	Reflection            bool
	// Protobuf has Check's messages decoded and encoded by protobuf: the plain way,
	// which costs more than the decision itself.
	Protobuf bool
}

// Server is the gRPC server with its health service.
type Server struct {
	*grpc.Server
	health *health.Server
}

// Options are those of the transport: whatever the server answers with.
func (c ServerConfig) Options() []grpc.ServerOption {
	options := []grpc.ServerOption{
		grpc.MaxRecvMsgSize(maxReceive),
		grpc.NumStreamWorkers(streamWorkers),
		// An idle connection's pings are permitted too: Envoy keeps one open.
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: minPingInterval, PermitWithoutStream: true}),
		grpc.KeepaliveParams(keepalive.ServerParameters{MaxConnectionAge: c.MaxConnectionAge, MaxConnectionAgeGrace: c.MaxConnectionAgeGrace}),
	}
	if c.TLS != nil {
		options = append(options, grpc.Creds(credentials.NewTLS(c.TLS)))
	}
	return options
}

// NewServer makes a server that answers Check and health; it is not serving by
// its own word until SetServing.
func NewServer(c ServerConfig, s *Service) *Server {
	options := c.Options()
	if !c.Protobuf {
		options = append(options, grpc.ForceServerCodecV2(newWireCodec()))
	}
	server := &Server{Server: grpc.NewServer(options...), health: health.NewServer()}
	if c.Protobuf {
		authv3.RegisterAuthorizationServer(server, s)
	} else {
		server.RegisterService(&wireServiceDesc, s)
	}
	healthv1.RegisterHealthServer(server, server.health)
	server.SetServing(false)
	if c.Reflection {
		reflection.Register(server)
	}
	return server
}

// SetServing says by gRPC health whether checks should come here.
func (s *Server) SetServing(serving bool) {
	state := healthv1.HealthCheckResponse_NOT_SERVING
	if serving {
		state = healthv1.HealthCheckResponse_SERVING
	}
	s.health.SetServingStatus("", state)
	s.health.SetServingStatus(authv3.Authorization_ServiceDesc.ServiceName, state)
}
