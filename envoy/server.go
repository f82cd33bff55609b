package envoy

import (
	"cmp"
	"crypto/tls"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/reflection"

	"extauthz/inbound"
)

const (
	// minPingInterval is at or under what Envoy is set to: pings that come
	// oftener are answered by GOAWAY, which costs a client a request.
	minPingInterval = time.Second
	// After pingAfter without a word a gateway is asked whether it is still there, and
	// its connection is closed where it is not within pingTimeout.
	pingAfter, pingTimeout = time.Minute, 20 * time.Second
	// streamWorkers keep the stacks that handling a call grew: 0.54 of an empty
	// server's CPU a check with 64 of them, 0.63 with none, the same with 256. Calls
	// beyond them have a goroutine each, so that none waits for another. Larger
	// buffers (128 KiB), a shared write buffer and windows of a fixed size changed
	// nothing beyond what was noise.
	streamWorkers = 64
	// Windows of a fixed size: grpc-go would let a busy connection's grow to 16 MiB for
	// each stream. A stream's is the least there is; a larger message gets its own.
	streamWindow, connectionWindow = 64 << 10, 1 << 20
	// readBuffer is a connection's, for as long as it is open.
	readBuffer = 16 << 10
)

// The defaults of ServerConfig's limits.
const (
	DefaultMaxStreams     = 1000
	DefaultMaxMessage     = 1 << 20
	DefaultMaxHeaders     = 128 << 10
	DefaultRequestTimeout = 5 * time.Second
)

// ServerConfig is how a gRPC server for Envoy is set up. A limit that is 0 has its
// default.
type ServerConfig struct {
	TLS                   *tls.Config   // nil: plain text
	MaxConnectionAge      time.Duration // 0: for ever; else connections spread over new replicas
	MaxConnectionAgeGrace time.Duration
	Reflection            bool
	// Protobuf has Check's messages decoded and encoded by protobuf: the plain way,
	// which costs more than the decision itself.
	Protobuf bool

	MaxStreams uint32 // calls at once on a connection
	// MaxMessage is the size of a CheckRequest in bytes. A larger one is a gRPC error,
	// which failure_mode_allow lets in, so it has to exceed the gateway's own limits of
	// headers and bodies.
	MaxMessage int
	MaxHeaders uint32 // size of a call's metadata in bytes, uncompressed, and 32 for each
	// RequestTimeout is how long a connection may take to be set up, and a call until
	// its message is complete and answered.
	RequestTimeout time.Duration
	// Inbound bounds what all connections take together, which are to be accepted from
	// it; nil: nothing does.
	Inbound *inbound.Listener
}

// Server is the gRPC server with its health service.
type Server struct {
	*grpc.Server
	health *health.Server
}

// Options are those of the transport: whatever the server answers with.
func (c ServerConfig) Options() []grpc.ServerOption {
	options := []grpc.ServerOption{
		grpc.MaxConcurrentStreams(cmp.Or(c.MaxStreams, DefaultMaxStreams)),
		grpc.MaxRecvMsgSize(cmp.Or(c.MaxMessage, DefaultMaxMessage)),
		grpc.MaxHeaderListSize(cmp.Or(c.MaxHeaders, DefaultMaxHeaders)),
		grpc.ConnectionTimeout(c.requestTimeout()),
		grpc.NumStreamWorkers(streamWorkers),
		grpc.ReadBufferSize(readBuffer),
		grpc.StaticStreamWindowSize(streamWindow),
		grpc.StaticConnWindowSize(connectionWindow),
		// An idle connection's pings are permitted too: Envoy keeps one open.
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: minPingInterval, PermitWithoutStream: true}),
		grpc.KeepaliveParams(keepalive.ServerParameters{MaxConnectionAge: c.MaxConnectionAge, MaxConnectionAgeGrace: c.MaxConnectionAgeGrace,
			Time: pingAfter, Timeout: pingTimeout}),
	}
	if c.TLS != nil && c.Inbound == nil {
		options = append(options, grpc.Creds(credentials.NewTLS(c.TLS)))
	}
	return options
}

func (c ServerConfig) requestTimeout() time.Duration {
	return cmp.Or(c.RequestTimeout, DefaultRequestTimeout)
}

// NewServer makes a server that answers Check and health; it is not serving by
// its own word until SetServing.
func NewServer(c ServerConfig, s *Service) *Server {
	options := c.Options()
	if !c.Protobuf {
		options = append(options, grpc.ForceServerCodecV2(newWireCodec()))
	}
	streaming := map[string]bool{}
	if c.Inbound != nil {
		options = append(options, c.Inbound.Options(c.TLS, c.requestTimeout(), func(method string) bool { return streaming[method] })...)
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
	for service, info := range server.GetServiceInfo() {
		for _, m := range info.Methods {
			streaming["/"+service+"/"+m.Name] = m.IsClientStream || m.IsServerStream
		}
	}
	return server
}

// SetServing reports by gRPC health whether checks should be sent here.
func (s *Server) SetServing(serving bool) {
	state := healthv1.HealthCheckResponse_NOT_SERVING
	if serving {
		state = healthv1.HealthCheckResponse_SERVING
	}
	s.health.SetServingStatus("", state)
	s.health.SetServingStatus(authv3.Authorization_ServiceDesc.ServiceName, state)
}
