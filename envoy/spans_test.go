package envoy

import (
	"context"
	"errors"
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/contrib/propagators/b3"
	"go.opentelemetry.io/otel/attribute"
	otelcodes "go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc/metadata"

	"extauthz/authz"
)

const (
	gatewayTrace = "0af7651916cd43dd8448eb211c80319c"
	gatewaySpan  = "b7ad6b7169203331"
	clientTrace  = "11111111111111111111111111111111"
)

// traced returns a service and the recorder of its finished spans. It samples a check if
// its gateway does, as the program does.
func traced(t testing.TB, c EncoderConfig, a saying) (*Service, *tracetest.SpanRecorder) {
	t.Helper()
	ended := tracetest.NewSpanRecorder()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(ended), sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.NeverSample())))
	s, err := New(Config{Checker: a, Encoder: c, Logger: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry(),
		Tracer: provider.Tracer("t"), Propagator: propagation.NewCompositeTextMapPropagator(b3.New(), propagation.TraceContext{})})
	if err != nil {
		t.Fatal(err)
	}
	return s, ended
}

// only returns the single span, which has to exist, and its attributes.
func only(t *testing.T, ended *tracetest.SpanRecorder) (sdktrace.ReadOnlySpan, map[string]string) {
	t.Helper()
	if n := len(ended.Ended()); n != 1 {
		t.Fatalf("%d spans, want 1", n)
	}
	span, attributes := ended.Ended()[0], map[string]string{}
	for _, a := range span.Attributes() {
		attributes[string(a.Key)] = a.Value.String()
	}
	return span, attributes
}

func incoming(t *testing.T, pairs ...string) context.Context {
	return metadata.NewIncomingContext(t.Context(), metadata.Pairs(pairs...))
}

func TestSpans_ContinueTheGatewaysTrace(t *testing.T) {
	for form, pairs := range map[string][]string{
		"W3C":         {"traceparent", "00-" + gatewayTrace + "-" + gatewaySpan + "-01", "tracestate", ""},
		"B3":          {"x-b3-traceid", gatewayTrace, "x-b3-spanid", gatewaySpan, "x-b3-sampled", "1", "x-b3-parentspanid", "00000000000000aa"},
		"B3 debug":    {"x-b3-traceid", gatewayTrace, "x-b3-spanid", gatewaySpan, "x-b3-flags", "1"},
		"B3 single":   {"b3", gatewayTrace + "-" + gatewaySpan + "-1-00000000000000aa"},
		"W3C over B3": {"traceparent", "00-" + gatewayTrace + "-" + gatewaySpan + "-01", "b3", clientTrace + "-" + gatewaySpan + "-1"},
	} {
		s, ended := traced(t, EncoderConfig{}, func(*authz.Request) (authz.Decision, error) {
			return authz.Decision{Allowed: true, Reason: authz.ReasonGranted, Layer: authz.LayerRedis, Resource: "orders/42", Action: "read", Path: "/orders/42"}, nil
		})
		if _, err := s.Check(incoming(t, pairs...), request("/orders/42?x=1", map[string]string{"x-request-id": "r-1",
			"traceparent": "00-" + clientTrace + "-2222222222222222-01", "b3": clientTrace + "-2222222222222222-1"})); err != nil {
			t.Fatal(err)
		}
		span, got := only(t, ended)
		if span.SpanContext().TraceID().String() != gatewayTrace || span.Parent().SpanID().String() != gatewaySpan || !span.Parent().IsRemote() {
			t.Errorf("%s: trace %s, parent %s", form, span.SpanContext().TraceID(), span.Parent().SpanID())
		}
		if span.Name() != "envoy.service.auth.v3.Authorization/Check" || span.SpanKind() != trace.SpanKindServer {
			t.Errorf("%s: %s, %s", form, span.Name(), span.SpanKind())
		}
		for name, want := range map[string]string{"rpc.system.name": "grpc", "rpc.method": "envoy.service.auth.v3.Authorization/Check", "rpc.response.status_code": "OK",
			"extauthz.decision": "allow", "extauthz.reason": "granted", "extauthz.cache.layer": "redis", "extauthz.path": "/orders/42",
			"extauthz.resource": "orders/42", "extauthz.action": "read", "extauthz.request_id": "r-1"} {
			if got[name] != want {
				t.Errorf("%s: %s is %q, want %q", form, name, got[name], want)
			}
		}
	}
}

// TestSpans_ClientHeadersMakeNone: a client's headers are inside the CheckRequest, or in
// what forward-auth passes on.
func TestSpans_ClientHeadersMakeNone(t *testing.T) {
	client := map[string]string{"traceparent": "00-" + clientTrace + "-2222222222222222-01", "b3": clientTrace + "-2222222222222222-1"}
	s, ended := traced(t, EncoderConfig{}, allow(authz.Record{ID: "i"}))
	for name, ctx := range map[string]context.Context{
		"no metadata": t.Context(), "nothing of a trace": incoming(t, "user-agent", "envoy"),
		"not sampled":        incoming(t, "traceparent", "00-"+gatewayTrace+"-"+gatewaySpan+"-00"),
		"left open":          incoming(t, "b3", gatewayTrace+"-"+gatewaySpan),
		"twice":              incoming(t, "traceparent", "00-"+gatewayTrace+"-"+gatewaySpan+"-01", "traceparent", "00-"+clientTrace+"-"+gatewaySpan+"-01"),
		"no trace's context": incoming(t, "traceparent", "\xff", "b3", "1-1-1-1-1", "x-b3-traceid", "x"),
	} {
		if _, err := s.Check(ctx, request("/", client)); err != nil || len(ended.Ended()) != 0 {
			t.Errorf("%s: %d spans, %v", name, len(ended.Ended()), err)
		}
	}
	ask := func(target, peer string) {
		r := httptest.NewRequest("GET", target, nil)
		r.RemoteAddr = peer
		for name, value := range client {
			r.Header.Set(name, value)
		}
		NewHTTPServer(HTTPConfig{}, s).Handler.ServeHTTP(httptest.NewRecorder(), r)
	}
	for target, peer := range map[string]string{"/auth/nginx": "127.0.0.1:1", "/auth/caddy": "127.0.0.1:1", "/auth/traefik": "127.0.0.1:1", "/check/": "192.0.2.1:1", "/": "127.0.0.1:1"} {
		if ask(target, peer); len(ended.Ended()) != 0 {
			t.Fatalf("%s from %s made a span", target, peer)
		}
	}
	if ask("/check/", "127.0.0.1:1"); len(ended.Ended()) != 1 { // else the checks above would show nothing
		t.Error("Envoy's own request made none")
	}
}

func TestSpans_HTTPFlavourIsAServersSpan(t *testing.T) {
	s, ended := traced(t, EncoderConfig{}, func(*authz.Request) (authz.Decision, error) {
		return authz.Decision{Reason: authz.ReasonMissing, Path: "/orders"}, nil
	})
	r := httptest.NewRequest("BREW", "/check/orders", nil)
	r.RemoteAddr = "127.0.0.1:1"
	r.Header.Set("traceparent", "00-"+gatewayTrace+"-"+gatewaySpan+"-01")
	NewHTTPServer(HTTPConfig{}, s).Handler.ServeHTTP(httptest.NewRecorder(), r)
	span, got := only(t, ended)
	if span.Name() != "HTTP /check" || span.SpanKind() != trace.SpanKindServer || span.SpanContext().TraceID().String() != gatewayTrace {
		t.Errorf("%s, %s, %s", span.Name(), span.SpanKind(), span.SpanContext().TraceID())
	}
	for name, want := range map[string]string{"http.request.method": "_OTHER", "http.route": "/check", "http.response.status_code": "401",
		"extauthz.decision": "deny", "extauthz.reason": "missing_key", "extauthz.cache.layer": "none"} {
		if got[name] != want {
			t.Errorf("%s is %q, want %q", name, got[name], want)
		}
	}
	if span.Status().Code == otelcodes.Error {
		t.Error("a denial is no error")
	}
}

func TestSpans_ShowWhyThereIsNoDecision(t *testing.T) {
	for name, a := range map[string]saying{
		"error": func(*authz.Request) (authz.Decision, error) {
			return authz.Decision{}, errors.New("store down: geheim")
		},
		"panic": func(*authz.Request) (authz.Decision, error) { panic("bug") },
	} {
		s, ended := traced(t, EncoderConfig{}, a)
		if _, err := s.Check(incoming(t, "b3", gatewayTrace+"-"+gatewaySpan+"-1"), request("/", nil)); err == nil {
			t.Fatal("no error")
		}
		span, got := only(t, ended)
		if span.Status().Code != otelcodes.Error || strings.Contains(span.Status().Description, "geheim") ||
			got["extauthz.decision"] != "error" || got["extauthz.reason"] != "undecided" || got["rpc.response.status_code"] != "UNAVAILABLE" {
			t.Errorf("%s: %v %v", name, span.Status(), got)
		}
	}
}

// TestSpans_HoldNoSecretAndAreUTF8: one text that is not UTF-8 would make its whole batch
// be lost.
func TestSpans_HoldNoSecretAndAreUTF8(t *testing.T) {
	const key = "ak_live_12345678_abcdefghijklmnopqrstuvwxyz0123456789ABCD"
	s, ended := traced(t, EncoderConfig{}, func(*authz.Request) (authz.Decision, error) {
		return authz.Decision{Reason: authz.ReasonScope, Shadow: authz.ReasonNetwork, Allowed: true, Resource: "orders/" + key, Action: "re\xffad",
			Path: "/\xff/" + key + strings.Repeat("ä/", 400)}, nil
	})
	if _, err := s.Check(incoming(t, "b3", gatewayTrace+"-"+gatewaySpan+"-1"), request("/x?api_key="+key,
		map[string]string{"x-request-id": "\xfe" + key, "x-api-key": key, "authorization": "Bearer " + key, "cookie": key})); err != nil {
		t.Fatal(err)
	}
	span, got := only(t, ended)
	for _, a := range span.Attributes() {
		if a.Value.Type() == attribute.STRING && (!utf8.ValidString(a.Value.AsString()) || len(a.Value.AsString()) > maxLoggedPath+10) {
			t.Errorf("%s is no short UTF-8: %q", a.Key, a.Value.AsString())
		}
		if strings.Contains(a.Value.String(), "abcdefghijklmnop") {
			t.Errorf("%s holds a key", a.Key)
		}
	}
	if got["extauthz.decision"] != "shadow" || got["extauthz.reason"] != "network_refused" {
		t.Errorf("shadow mode is reported as %s, %s", got["extauthz.decision"], got["extauthz.reason"])
	}
}

// TestSpans_CostNothingWithoutATracer: no allocation, no value in the context.
func TestSpans_CostNothingWithoutATracer(t *testing.T) {
	s := service(t, EncoderConfig{}, allow(authz.Record{ID: "i"}))
	ctx := incoming(t, "traceparent", "00-"+gatewayTrace+"-"+gatewaySpan+"-01")
	req, d, r := request("/", nil), &authz.Decision{Path: "/a", Resource: "a"}, &authz.Request{}
	allocations := func(answer func(*check)) float64 {
		return testing.AllocsPerRun(1000, func() {
			c := takeCheck()
			c.form, c.message = formMessage, req
			answer(c)
			c.release()
		})
	}
	bare := allocations(func(c *check) { s.decide(ctx, s.policy.Load(), c) })
	if whole := allocations(func(c *check) { _ = s.handleRPC(ctx, c) }); whole != bare {
		t.Errorf("%v allocations, %v without what begins a span", whole, bare)
	}
	if n := testing.AllocsPerRun(1000, func() { s.spans.recordDecision(ctx, d, r); s.spans.recordUndecided(ctx) }); n != 0 {
		t.Errorf("%v allocations without a span", n)
	}
	if _, err := New(Config{Checker: s.policy.Load().checker, Logger: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry(), Propagator: propagation.TraceContext{}}); err == nil {
		t.Error("half a tracer was taken")
	}
}

func BenchmarkCheck(b *testing.B) {
	off := service(b, EncoderConfig{}, allow(authz.Record{ID: "i"}))
	on, _ := traced(b, EncoderConfig{}, allow(authz.Record{ID: "i"}))
	provider := sdktrace.NewTracerProvider(sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.NeverSample())))
	on.spans.tracer = provider.Tracer("b") // has no processor, so no span is kept
	of := func(flags string) context.Context {
		return metadata.NewIncomingContext(context.Background(), metadata.Pairs("traceparent", "00-"+gatewayTrace+"-"+gatewaySpan+"-"+flags))
	}
	req := request("/orders/42", map[string]string{"x-request-id": "r-1"})
	for _, c := range []struct {
		name  string
		s     *Service
		flags string
	}{{"off", off, "01"}, {"not sampled", on, "00"}, {"sampled", on, "01"}} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			ctx := of(c.flags)
			for b.Loop() {
				_, _ = c.s.Check(ctx, req)
			}
		})
	}
}
