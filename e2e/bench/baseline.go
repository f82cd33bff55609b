package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"

	"extauthz/e2e/parts"
	"extauthz/envoy"
)

// The baselines are servers that allow everything without examining the request.
const (
	baselineDefault = "default" // grpc-go with its defaults, which decodes each CheckRequest
	baselineRaw     = "raw"     // decodes and encodes nothing, with the options that the service uses
)

// empty allows everything.
type empty struct {
	authv3.UnimplementedAuthorizationServer
	answer *authv3.CheckResponse
}

func (e *empty) Check(context.Context, *authv3.CheckRequest) (*authv3.CheckResponse, error) {
	return e.answer, nil
}

// allowed returns an answer of the size that the service's allowing answers have.
func allowed() *authv3.CheckResponse {
	set := func(name, value string) *corev3.HeaderValueOption {
		return &corev3.HeaderValueOption{Header: &corev3.HeaderValue{Key: name, Value: value}, AppendAction: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD}
	}
	return &authv3.CheckResponse{Status: &status.Status{}, HttpResponse: &authv3.CheckResponse_OkResponse{OkResponse: &authv3.OkHttpResponse{
		Headers: []*corev3.HeaderValueOption{set("x-auth-key-id", "01890000-0000-7000-8000-000000000001"), set("x-auth-user-id", "user-1"), set("x-auth-scopes", "orders:read")},

		HeadersToRemove: []string{"x-api-key"},
	}}}
}

// serveBaseline runs a baseline in this process until it is interrupted.
func serveBaseline(kind, address string) error {
	network := "tcp"
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		network, address = "unix", path
	}
	l, err := net.Listen(network, address)
	if err != nil {
		return err
	}
	var server *grpc.Server
	switch kind {
	case baselineDefault:
		server = grpc.NewServer()
		authv3.RegisterAuthorizationServer(server, &empty{answer: allowed()})
	case baselineRaw:
		answer, err := proto.Marshal(allowed())
		if err != nil {
			return err
		}
		service := envoy.ServerConfig{MaxConnectionAge: 10 * time.Minute, MaxConnectionAgeGrace: 30 * time.Second} // grpc-go's default
		server = grpc.NewServer(append(service.Options(), grpc.ForceServerCodecV2(frames{}))...)
		server.RegisterService(&grpc.ServiceDesc{ServiceName: authv3.Authorization_ServiceDesc.ServiceName, HandlerType: (*any)(nil), Methods: []grpc.MethodDesc{{
			MethodName: "Check",
			Handler: func(_ any, _ context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
				return &answer, decode(unread{})
			},
		}}}, nil)
	default:
		return fmt.Errorf("no baseline %q: write %s or %s", kind, baselineDefault, baselineRaw)
	}
	interrupts := make(chan os.Signal, 1)
	signal.Notify(interrupts, os.Interrupt)
	go func() {
		<-interrupts
		server.Stop()
	}()
	return server.Serve(l)
}

// startBaseline runs a baseline in a process of its own, on loopback or a Unix socket.
func startBaseline(r *run, kind string, socket bool) *target {
	address := "unix:" + filepath.Join(r.TempDir(), "baseline")
	if !socket {
		port, err := parts.FreePort()
		r.must(err)
		address = fmt.Sprintf("127.0.0.1:%d", port)
	}
	self, err := os.Executable()
	r.must(err)
	cmd := exec.Command(self, "baseline", kind, address)
	cmd.Stderr = os.Stderr
	r.must(cmd.Start())
	r.Cleanup(func() {
		_ = cmd.Process.Kill() // the process may have ended already
		_ = cmd.Wait()
	})
	return dial(r, "baseline, "+kind, address, cmd.Process.Pid)
}

// frames is a codec that passes messages through as they are, so that the
// sender, and the raw baseline, do no work on them.
type frames struct{}

// unread is a message that is not decoded.
type unread struct{}

// Name returns the codec name under which Envoy sends its messages.
func (frames) Name() string { return "proto" }

// Marshal accepts a *[]byte.
func (frames) Marshal(v any) (mem.BufferSlice, error) {
	return mem.BufferSlice{mem.SliceBuffer(*v.(*[]byte))}, nil
}

// Unmarshal fills a *[]byte, or ignores the data for unread.
func (frames) Unmarshal(data mem.BufferSlice, v any) error {
	if out, ok := v.(*[]byte); ok {
		n := data.Len()
		if cap(*out) < n {
			*out = make([]byte, n)
		}
		*out = (*out)[:n]
		data.CopyTo(*out)
	}
	return nil
}
