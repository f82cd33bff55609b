package envoy

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/proto"

	"extauthz/authz"
)

// oneKey is a validator that has one key.
type oneKey struct {
	prefix string
	entry  authz.Entry
}

func (o oneKey) Lookup(_ context.Context, prefix string, _ *authz.Scratch) (authz.Entry, error) {
	if prefix == o.prefix {
		return o.entry, nil
	}
	return authz.Entry{}, nil
}

func (oneKey) RoleScopes(context.Context, *authz.Record, authz.Need) (authz.Scopes, error) {
	return nil, nil
}

// BenchmarkDecisionByProtobuf measures a check without transport, if protobuf decodes and
// encodes the messages, from the request's bytes to the answer's bytes.
func BenchmarkDecisionByProtobuf(b *testing.B) {
	must := func(err error) {
		b.Helper()
		if err != nil {
			b.Fatal(err)
		}
	}
	format, err := authz.NewKeyFormat(authz.KeyFormatConfig{})
	must(err)
	key, prefix, err := format.Generate("live", rand.Reader)
	must(err)
	unknown, _, err := format.Generate("live", rand.Reader)
	must(err)
	peppers, err := authz.NewPeppers(nil)
	must(err)
	byPath, err := authz.NewDefaultMap(nil)
	must(err)
	scopes, err := authz.ParseScopes([]string{"orders:read", "invoices:read", "reports/eu:read"})
	must(err)
	a, err := authz.New(authz.Config{Format: format, Peppers: peppers, DefaultRoute: authz.DefaultRouteMap, DefaultMap: byPath, IdentityPrefix: "x-auth-", Now: time.Now,
		Sources: []authz.CredentialSource{{Kind: authz.SourceHeader, Name: "x-api-key"}, {Kind: authz.SourceHeader, Name: "authorization", Scheme: "Bearer"}},
		Validator: oneKey{prefix, authz.Entry{Layer: authz.LayerLocal, Verifier: peppers.Verifier(key), Record: &authz.Record{ID: "01890000-0000-7000-8000-000000000001",
			UserID: "00000000-0000-4000-8000-000000000000", Name: "reference key of 20b", Prefix: prefix, Environment: "live", Active: true, Scopes: scopes}}}})
	must(err)
	s, err := New(Config{Checker: a, Encoder: EncoderConfig{HeaderPrefix: "x-auth-"}, Logger: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry()})
	must(err)
	for _, c := range []struct{ name, path, key string }{
		{"granted", "/orders/42?expand=items", key.Reveal()}, {"missing_key", "/orders/42", ""}, {"malformed_key", "/orders/42", "sk_live"},
		{"unknown_key", "/orders/42", unknown.Reveal()}, {"scope_missing", "/payments/42", key.Reveal()},
	} {
		headers := map[string]string{":authority": "api.example.com", ":method": "GET", ":path": c.path, ":scheme": "https", "accept": "application/json, text/plain, */*",
			"accept-encoding": "gzip, deflate, br", "accept-language": "en-US,en;q=0.9", "content-type": "application/json", "referer": "https://app.example.com/orders",
			"sec-fetch-mode": "cors", "sec-fetch-site": "same-site", "user-agent": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36",
			"x-envoy-internal": "true", "x-forwarded-for": "203.0.113.7", "x-forwarded-proto": "https", "x-request-id": "4f6c0f0e-3c53-9f6d-8a3e-000000000001"}
		if c.key != "" {
			headers["x-api-key"] = c.key
		}
		in, err := proto.Marshal(request(c.path, headers))
		must(err)
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			var reason string
			for b.Loop() {
				var req authv3.CheckRequest
				err1 := proto.Unmarshal(in, &req)
				res, err2 := s.Check(b.Context(), &req)
				_, err3 := proto.Marshal(res)
				if err := errors.Join(err1, err2, err3); err != nil {
					b.Fatal(err)
				}
				reason = res.GetDynamicMetadata().GetFields()["reason"].GetStringValue()
			}
			if reason != c.name {
				b.Fatalf("got %s", reason)
			}
		})
	}
}
