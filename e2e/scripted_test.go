package e2e

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"extauthz/e2e/parts"
)

// scripted answers Envoy's checks as a test determines, to show what Envoy itself does
// with an answer: the facts that package envoy depends on.
type scripted struct {
	authv3.UnimplementedAuthorizationServer
	mu     sync.Mutex
	answer *authv3.CheckResponse
	err    error
	asked  *authv3.CheckRequest // last
	count  int
}

func (s *scripted) Check(_ context.Context, r *authv3.CheckRequest) (*authv3.CheckResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked, s.count = r, s.count+1
	return s.answer, s.err
}

func (s *scripted) will(answer *authv3.CheckResponse, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer, s.err = answer, err
}

// last returns the last CheckRequest, and forgets it.
func (s *scripted) last() *authv3.CheckRequest {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.asked
	s.asked = nil
	return r
}

// gateway starts an Envoy with our bootstrap, changed by edits, in front of a scripted
// server; accessLog is its access log.
func gateway(t *testing.T, version string, edits ...string) (s *stack, server *scripted, accessLog string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server = &scripted{answer: allowed(nil)}
	g := grpc.NewServer()
	authv3.RegisterAuthorizationServer(g, server)
	healthv1.RegisterHealthServer(g, health.NewServer())
	go func() { _ = g.Serve(listener) }()
	t.Cleanup(g.Stop)
	s = &stack{t: t, upstream: parts.StartUpstream(t)}
	accessLog = filepath.Join(t.TempDir(), "access.log")
	s.gateway = startGateway(t, version, listener.Addr().String(), s.upstream.Address, append([]string{
		"envoy.access_loggers.stdout", "envoy.access_loggers.file",
		"envoy.extensions.access_loggers.stream.v3.StdoutAccessLog", "envoy.extensions.access_loggers.file.v3.FileAccessLog",
		"                      log_format:", "                      path: " + accessLog + "\n                      log_format:"}, edits...)...)
	return s, server, accessLog
}

// startGateway starts an Envoy with our bootstrap, changed by edits, in front of a
// service, and returns where it listens.
func startGateway(t *testing.T, version, service, upstream string, edits ...string) (listen string) {
	t.Helper()
	return startPrintedGateway(t, version, "", []string{"--upstream", upstream, "--service", service}, edits...)
}

// startPrintedGateway is startGateway with the bootstrap that is printed for a
// configuration with flags.
func startPrintedGateway(t *testing.T, version, configuration string, flags []string, edits ...string) (listen string) {
	t.Helper()
	port, admin := freePort(t), freePort(t)
	listen = fmt.Sprintf("127.0.0.1:%d", port)
	text := parts.PrintBootstrap(t, configuration, append(flags, "--listen", listen, "--admin", fmt.Sprintf("127.0.0.1:%d", admin))...)
	for i := 0; i < len(edits); i += 2 {
		if !strings.Contains(text, edits[i]) {
			t.Fatalf("the bootstrap does not hold %q", edits[i])
		}
		text = strings.ReplaceAll(text, edits[i], edits[i+1])
	}
	parts.StartEnvoy(t, version, text, admin)
	return listen
}

func allowed(ok *authv3.OkHttpResponse) *authv3.CheckResponse {
	return &authv3.CheckResponse{Status: &rpcstatus.Status{}, HttpResponse: &authv3.CheckResponse_OkResponse{OkResponse: ok}}
}

func denied(status int, body string, headers ...*corev3.HeaderValueOption) *authv3.CheckResponse {
	d := &authv3.DeniedHttpResponse{Body: body, Headers: headers}
	if status != 0 {
		d.Status = &typev3.HttpStatus{Code: typev3.StatusCode(status)}
	}
	return &authv3.CheckResponse{Status: &rpcstatus.Status{Code: 7}, HttpResponse: &authv3.CheckResponse_DeniedResponse{DeniedResponse: d}}
}

// set returns a header as package envoy writes it.
func set(name, value string) *corev3.HeaderValueOption {
	return &corev3.HeaderValueOption{Header: &corev3.HeaderValue{Key: name, Value: value}, Append: wrapperspb.Bool(false), //nolint:staticcheck // what is tested
		AppendAction: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD}
}

func add(name, value string) *corev3.HeaderValueOption {
	return &corev3.HeaderValueOption{Header: &corev3.HeaderValue{Key: name, Value: value}, Append: wrapperspb.Bool(true)} //nolint:staticcheck // what is tested
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
