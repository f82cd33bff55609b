package envoy

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"
	"unicode/utf8"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/proto"

	"extauthz/authz"
)

// FuzzAnyCheckRequestIsAnswered: whatever bytes Envoy or a client sends, Check neither
// fails nor panics, and its answer is valid for Envoy.
func FuzzAnyCheckRequestIsAnswered(f *testing.F) {
	seed, err := proto.Marshal(request("/o?key=x", map[string]string{"x-api-key": "ak_live_x", "x-auth-a": "b"}))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed, true)
	f.Add([]byte{}, false)
	f.Fuzz(func(t *testing.T, b []byte, allowed bool) {
		var req authv3.CheckRequest
		if proto.Unmarshal(b, &req) != nil {
			return
		}
		s := service(t, EncoderConfig{RequestID: true, DebugHeaders: true}, func(*authz.Request) (authz.Decision, error) {
			return authz.Decision{Allowed: allowed, Reason: map[bool]authz.Reason{true: authz.ReasonGranted, false: authz.ReasonMissing}[allowed],
				Record: &authz.Record{ID: "i", UserID: string(b), Name: string(b)},
				Credentials: []authz.FoundCredential{{Source: authz.CredentialSource{Kind: authz.SourceQuery, Name: "key"}},
					{Source: authz.CredentialSource{Kind: authz.SourceCookie, Name: "key"}}}}, nil
		})
		checked(t, s, &req)
	})
}

// noKeys is a validator without keys.
type noKeys struct{}

func (noKeys) Lookup(context.Context, string, *authz.Scratch) (authz.Entry, error) {
	return authz.Entry{}, nil
}

func (noKeys) RoleScopes(context.Context, *authz.Record, authz.Need) (authz.Scopes, error) {
	return nil, nil
}

// FuzzTheRealAuthorizerAnswersAnything is the same with the real authorizer.
func FuzzTheRealAuthorizerAnswersAnything(f *testing.F) {
	format, err1 := authz.NewKeyFormat(authz.KeyFormatConfig{})
	peppers, err2 := authz.NewPeppers(nil)
	mapping, err3 := authz.NewDefaultMap([]string{"/api", "/{version}"})
	routes, err4 := authz.NewRouteTable([]authz.RouteConfig{{Match: "/open/", Anonymous: true}, {Match: "h/{a}/{b...}", Resource: "x/{a}"}})
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		f.Fatal(err)
	}
	a, err := authz.New(authz.Config{Format: format, Peppers: peppers, Routes: routes, DefaultRoute: authz.DefaultRouteMap, DefaultMap: mapping,
		Sources: []authz.CredentialSource{{Kind: authz.SourceHeader, Name: "x-api-key"}, {Kind: authz.SourceHeader, Name: "authorization", Scheme: "Bearer"},
			{Kind: authz.SourceQuery, Name: "api_key"}, {Kind: authz.SourceCookie, Name: "key"}},
		UseContextExtensions: true, Paths: authz.PathPolicy{Repair: true}, ClientAddress: authz.ClientAddress{TrustedHops: 1, Header: "x-forwarded-for"},
		Validator: noKeys{}, Now: time.Now})
	if err != nil {
		f.Fatal(err)
	}
	s, err := New(Config{Checker: a, Logger: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry()})
	if err != nil {
		f.Fatal(err)
	}
	f.Add("GET", "/open/x?api_key=a", "x-api-key", "ak_live_00000000_", "key=1; key=2")
	f.Add("CONNECT", "", "authorization", "Bearer a,b", "")
	f.Fuzz(func(t *testing.T, method, path, name, value, cookie string) {
		for _, text := range []string{method, path, name, value, cookie} {
			if !utf8.ValidString(text) {
				return // such a message can't be sent
			}
		}
		req := request(path, map[string]string{name: value, "cookie": cookie})
		req.Attributes.Request.Http.Method = method
		checked(t, s, req)
		req.Attributes.Request.Http.HeaderMap = &corev3.HeaderMap{Headers: []*corev3.HeaderValue{{Key: name, RawValue: []byte(value)}, {Key: ":path", RawValue: []byte(path)}}}
		checked(t, s, req)
	})
}
