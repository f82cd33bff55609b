package e2e

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/types/known/structpb"
)

const (
	failClosed = "failure_mode_allow: false"
	failOpen   = "failure_mode_allow: true"
)

// TestContract_EnvoyAnswers tests each fact of docs/envoy-contract.md, by its number
// there, on a real Envoy. If a release of Envoy changes one, this test fails before a
// user is surprised.
func TestContract_EnvoyAnswers(t *testing.T) {
	onEach(t, func(t *testing.T, version string) {
		s, server, accessLog := gateway(t, version)
		open, openServer, _ := gateway(t, version, failClosed, failOpen)
		valid, validServer, _ := gateway(t, version, failClosed, failClosed+"\n                      validate_mutations: true")
		fact := func(number, what string, test func(t *testing.T, s *stack)) {
			t.Run(number+" "+what, func(t *testing.T) { t.Helper(); test(t, s.on(t)) })
		}
		reached := func(t *testing.T, a answer) {
			t.Helper()
			if a.status != http.StatusOK || !a.reached {
				t.Errorf("got %d (upstream reached: %v) %s", a.status, a.reached, a.body)
			}
		}
		refused := func(t *testing.T, a answer, status int) {
			t.Helper()
			if a.status != status || a.reached {
				t.Errorf("got %d (upstream reached: %v) %s, want %d", a.status, a.reached, a.body, status)
			}
		}

		fact("1", "status nil or 0 allows, even beside a denied response", func(t *testing.T, s *stack) {
			d := denied(401, "no")
			for _, d.Status = range []*rpcstatus.Status{nil, {}} {
				server.will(d, nil)
				reached(t, s.ask("GET", "/x"))
			}
		})
		fact("2", "an error obeys failure_mode_allow, a denial does not", func(t *testing.T, s *stack) {
			server.will(nil, errors.New("down"))
			refused(t, s.ask("GET", "/x"), 503)
			openServer.will(nil, errors.New("down"))
			reached(t, open.ask("GET", "/x"))
			openServer.will(denied(401, "no"), nil)
			refused(t, open.ask("GET", "/x"), 401)
		})
		fact("3", "a string that is not UTF-8 makes the answer an error", func(t *testing.T, _ *stack) {
			openServer.will(denied(401, "\xff"), nil)
			reached(t, open.ask("GET", "/x"))
		})
		fact("4", "of a header only value is read", func(t *testing.T, s *stack) {
			server.will(allowed(&authv3.OkHttpResponse{Headers: []*corev3.HeaderValueOption{{Header: &corev3.HeaderValue{Key: "x-demo", RawValue: []byte("raw")}}}}), nil)
			if a := s.ask("GET", "/x"); strings.Contains(a.body, "raw") {
				t.Errorf("got %s", a.body)
			}
		})
		fact("5", "both forms of overwrite replace what the client sent", func(t *testing.T, s *stack) {
			server.will(allowed(&authv3.OkHttpResponse{Headers: []*corev3.HeaderValueOption{set("x-demo", "ours")}}), nil)
			a := s.ask("GET", "/x", "x-demo: client", "x-demo: twice")
			if strings.Count(a.body, "x-demo: ") != 1 || !strings.Contains(a.body, "x-demo: ours\r\n") {
				t.Errorf("got %s", a.body)
			}
			server.will(denied(401, "no", set("x-demo", "a"), add("x-gone", "b")), nil)
			if a := s.ask("GET", "/x"); a.header.Get("x-demo") != "a" || a.header.Get("x-gone") != "" {
				t.Errorf("denied headers %v: append: true drops one", a.header)
			}
		})
		fact("6", "removal comes last, and append on nothing is nothing", func(t *testing.T, s *stack) {
			server.will(allowed(&authv3.OkHttpResponse{Headers: []*corev3.HeaderValueOption{set("x-demo", "ours"), add("x-absent", "a")}, HeadersToRemove: []string{"x-demo"}}), nil)
			if a := s.ask("GET", "/x", "x-demo: client"); strings.Contains(a.body, "x-demo") || strings.Contains(a.body, "x-absent") {
				t.Errorf("got %s", a.body)
			}
		})
		fact("7", "headers for the client replace on request", func(t *testing.T, s *stack) {
			server.will(allowed(&authv3.OkHttpResponse{ResponseHeadersToAdd: []*corev3.HeaderValueOption{set("content-type", "text/x-ours"), set("x-cache-status", "HIT")}}), nil)
			a := s.ask("GET", "/x")
			if got := a.header.Values("content-type"); len(got) != 1 || got[0] != "text/x-ours" || a.header.Get("x-cache-status") != "HIT" {
				t.Errorf("got %v", a.header)
			}
		})
		fact("8", "a query is kept byte for byte by :path alone", func(t *testing.T, s *stack) {
			server.will(allowed(&authv3.OkHttpResponse{QueryParametersToRemove: []string{"k"}}), nil)
			if a := s.ask("GET", "/x?z=1&k=key&a=2&flag"); strings.Contains(a.body, "GET /x?z=1&a=2&flag HTTP") || strings.Contains(a.body, "key") {
				t.Errorf("Envoy no longer rewrites what remains: %s", a.body)
			}
			if a := s.ask("GET", "/x?%6b=key"); !strings.Contains(a.body, "key") {
				t.Errorf("Envoy decodes names now: %s", a.body)
			}
			for server, s := range map[*scripted]*stack{server: s, validServer: valid} {
				server.will(allowed(&authv3.OkHttpResponse{Headers: []*corev3.HeaderValueOption{set(":path", "/x?z=1&a=2&flag")}, HeadersToRemove: []string{":method", "host"}}), nil)
				if a := s.ask("GET", "/x?z=1&k=key&a=2&flag"); !strings.Contains(a.body, "GET /x?z=1&a=2&flag HTTP/1.1\r\n") || !strings.Contains(a.body, "host: api.example.com") {
					t.Errorf("got %s", a.body)
				}
			}
		})
		fact("9", "a denial's status goes to the client whatever it is", func(t *testing.T, s *stack) {
			for _, status := range []int{0, 200, 299, 418} {
				server.will(denied(status, "no"), nil)
				want := status
				if status == 0 {
					want = 403
				}
				refused(t, s.ask("GET", "/x"), want)
			}
		})
		fact("10", "error_response is an error from 1.37 on, and a bare 403 before", func(t *testing.T, s *stack) {
			answer := &authv3.CheckResponse{Status: &rpcstatus.Status{Code: 14}, HttpResponse: &authv3.CheckResponse_ErrorResponse{
				ErrorResponse: &authv3.DeniedHttpResponse{Status: &typev3.HttpStatus{Code: 503}, Body: "later"}}}
			server.will(answer, nil)
			openServer.will(answer, nil)
			if strings.HasPrefix(version, "1.36.") {
				a := s.ask("GET", "/x")
				refused(t, a, 403)
				if a.body != "" {
					t.Errorf("body %q", a.body)
				}
				refused(t, open.ask("GET", "/x"), 403)
				return
			}
			a := s.ask("GET", "/x")
			refused(t, a, 503)
			if a.body != "later" {
				t.Errorf("body %q", a.body)
			}
			reached(t, open.ask("GET", "/x"))
			// The denial of a grpc-web call, as package envoy writes it.
			answer.GetErrorResponse().Status.Code, answer.GetErrorResponse().Body = 200, ""
			answer.GetErrorResponse().Headers = []*corev3.HeaderValueOption{set("grpc-status", "14"), set("grpc-message", "later")}
			server.will(answer, nil)
			if a := s.ask("POST", "/x", "content-type: application/grpc-web+proto", "content-length: 0"); a.reached || a.status != 200 || a.header.Get("grpc-status") != "14" {
				t.Errorf("got %d %v", a.status, a.header)
			}
		})
		fact("11", "dynamic metadata counts on denials too", func(t *testing.T, s *stack) {
			d := denied(401, "no")
			d.DynamicMetadata = &structpb.Struct{Fields: map[string]*structpb.Value{"reason": structpb.NewStringValue("because-" + version)}}
			server.will(d, nil)
			refused(t, s.ask("GET", "/x"), 401)
			eventually(t, func() error { return contains(readFile(t, accessLog), `"reason":"because-`+version+`"`, nil) })
		})
		fact("12", "an invalid header is a 500, or reaches the client", func(t *testing.T, s *stack) {
			for _, value := range []string{"a\r\nx-injected: b", "a\x00b"} {
				validServer.will(denied(401, "no", set("x-demo", value)), nil)
				refused(t, valid.ask("GET", "/x"), 500)
			}
			validServer.will(allowed(&authv3.OkHttpResponse{Headers: []*corev3.HeaderValueOption{set("x demo", "a")}}), nil)
			refused(t, valid.ask("GET", "/x"), 500)
			server.will(denied(401, "no", set("x-demo", "a\r\nx-injected: b")), nil)
			if a := s.ask("GET", "/x"); a.header.Get("x-injected") != "b" {
				t.Errorf("Envoy no longer injects what it is given: %v", a.header)
			}
		})
		fact("13", "gRPC clients get the body as grpc-message, and a code by status", func(t *testing.T, s *stack) {
			for status, code := range map[int]string{400: "13", 401: "16", 403: "7", 404: "12", 429: "14", 503: "14", 418: "2"} {
				server.will(denied(status, "plain text", set("grpc-message", "other"), set("content-type", "application/problem+json")), nil)
				a := s.ask("POST", "/pkg.Service/Method", "content-type: application/grpc", "content-length: 0")
				if a.status != 200 || a.header.Get("grpc-status") != code || a.header.Get("grpc-message") != "plain text" || a.header.Get("content-type") != "application/grpc" {
					t.Errorf("%d: got %d %v, want code %s", status, a.status, a.header, code)
				}
			}
			server.will(denied(429, "slow down", set("grpc-status", "8")), nil)
			if a := s.ask("POST", "/pkg.Service/Method", "content-type: application/grpc", "content-length: 0"); a.header.Get("grpc-status") != "8" {
				t.Errorf("got %v", a.header)
			}
		})
		fact("14", "grpc-web is no gRPC; a denial without a body has no content type", func(t *testing.T, s *stack) {
			call := []string{"content-type: application/grpc-web+proto", "content-length: 0"}
			server.will(denied(401, "plain text"), nil)
			if a := s.ask("POST", "/pkg.Service/Method", call...); a.status != 401 || a.header.Get("grpc-status") != "" || a.header.Get("content-type") != "text/plain" {
				t.Errorf("got %d %v", a.status, a.header)
			}
			whole := []*corev3.HeaderValueOption{set("grpc-status", "16"), set("grpc-message", "no%20key"), set("content-type", "application/grpc-web+proto")}
			server.will(denied(200, "", whole...), nil)
			a := s.ask("POST", "/pkg.Service/Method", call...)
			if a.status != 200 || a.reached || a.header.Get("grpc-status") != "16" || a.header.Get("grpc-message") != "no%20key" || a.header.Get("content-type") != "" {
				t.Errorf("got %d %v", a.status, a.header)
			}
			server.will(denied(200, "", append(whole, set("x-extauthz-content-type", "application/grpc-web+proto"))...), nil)
			if a := s.ask("POST", "/pkg.Service/Method", call...); a.header.Get("content-type") != "application/grpc-web+proto" || a.header.Get("x-extauthz-content-type") != "" {
				t.Errorf("our filter does not bring the type back: %v", a.header)
			}
			server.will(denied(200, "", set("grpc-status", "16"), set("grpc-message", "no%20key")), nil)
			if a := s.ask("POST", "/pkg.Service/Method", "content-type: application/grpc", "content-length: 0"); a.status != 200 || a.header.Get("grpc-status") != "16" || a.header.Get("grpc-message") != "no%20key" || a.header.Get("content-type") != "application/grpc" {
				t.Errorf("a gRPC call got %d %v", a.status, a.header)
			}
		})
	})
}
