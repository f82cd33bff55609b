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
	// minPingInterval must not exceed the interval of Envoy's pings: the server answers
	// more frequent pings by GOAWAY, which costs a client a request.
	minPingInterval = time.Second
	// After pingAfter without traffic the server pings the gateway, and closes the
	// connection if no answer comes within pingTimeout.
	pingAfter, pingTimeout = time.Minute, 20 * time.Second
	// streamWorkers keep the stacks that grew while handling calls. A check takes 0.54 of
	// an empty server's CPU with 64 workers, 0.63 with none, and the same as with 64 with
	// 256. Calls beyond that number get a goroutine each, so that no call waits for
	// another. Larger buffers (128 KiB), a shared write buffer and windows of a fixed
	// size changed nothing beyond noise.
	streamWorkers = 64
	// Flow-control windows have a fixed size: grpc-go would otherwise let those of a busy
	// connection grow to 16 MiB for each stream. A stream's window is the smallest
	// possible; grpc-go enlarges it for a larger message.
	streamWindow, connectionWindow = 64 << 10, 1 << 20
	// readBuffer is the size of the buffer that each open connection holds.
	readBuffer = 16 << 10
)

// The defaults of ServerConfig's limits.
const (
	DefaultMaxStreams     = 1000
	DefaultMaxMessage     = 1 << 20
	DefaultMaxHeaders     = 128 << 10
	DefaultRequestTimeout = 5 * time.Second
)

// ServerConfig configures a gRPC server for Envoy. A limit of 0 means its default.
type ServerConfig struct {
	TLS                   *tls.Config   // nil: plain text
	MaxConnectionAge      time.Duration // 0: unlimited; a limit makes connections spread over new replicas
	MaxConnectionAgeGrace time.Duration
	Reflection            bool
	// Protobuf makes protobuf decode and encode Check's messages. That is the usual way,
	// and costs more than the decision itself.
	Protobuf bool

	MaxStreams uint32 // calls at once on a connection
	// MaxMessage is the size of a CheckRequest in bytes. A larger one is a gRPC error, on
	// which failure_mode_allow lets the request in. So this limit has to exceed the
	// gateway's own limits of headers and bodies.
	MaxMessage int
	MaxHeaders uint32 // size of a call's metadata in bytes, uncompressed, plus 32 for each entry
	// RequestTimeout is the time limit for setting up a connection, and for a call until
	// its message is complete and answered.
	RequestTimeout time.Duration
	// Inbound bounds what all connections use together; they have to be accepted from it.
	// If it is nil, nothing bounds them.
	Inbound *inbound.Listener
}

// Server is the gRPC server with its health service.
type Server struct {
	*grpc.Server
	health *health.Server
}

// Options returns the options of the transport, which don't depend on how messages are
// encoded.
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
		// Pings on an idle connection are permitted too: Envoy keeps one open.
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

// NewServer makes a server that answers Check and health. Its health is NOT_SERVING until
// SetServing.
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
