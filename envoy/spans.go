package envoy

import (
	"context"
	"net/http"
	"slices"
	"strings"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"go.opentelemetry.io/otel/attribute"
	otelcodes "go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"

	"extauthz/authz"
)

// rpcMethod is Check's full name, which is the span's too.
var rpcMethod = strings.TrimPrefix(authv3.Authorization_Check_FullMethodName, "/")

// httpMethods are those that the semantic conventions know by name.
var httpMethods = []string{"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY", "TRACE"}

// spans makes a span for each check, under the gateway's own. A nil *spans makes none,
// and costs nothing. Safe for concurrent use.
//
// The parent span is the one that Envoy itself names in the metadata of the call. The
// headers inside the CheckRequest are the client's, so they name no parent.
type spans struct {
	tracer     trace.Tracer
	propagator propagation.TextMapPropagator
}

// startRPC begins the span of a gRPC call. The caller has to end it by endRPC.
func (s *spans) startRPC(ctx context.Context) (context.Context, trace.Span) {
	ctx = s.propagator.Extract(ctx, metadataCarrier{ctx})
	return s.tracer.Start(ctx, rpcMethod, trace.WithSpanKind(trace.SpanKindServer),
		trace.WithAttributes(semconv.RPCSystemNameGRPC, semconv.RPCMethod(rpcMethod)))
}

// endRPC ends the span with the status of a gRPC call.
func (s *spans) endRPC(span trace.Span, code codes.Code) {
	name := "OK"
	if code != codes.OK { // Check returns no other error
		name = "UNAVAILABLE"
	}
	span.SetAttributes(semconv.RPCResponseStatusCode(name))
	span.End()
}

// startHTTP begins the span of a request in Envoy's HTTP flavour.
func (s *spans) startHTTP(r *http.Request) (context.Context, trace.Span) {
	method, name := semconv.HTTPRequestMethodOther, "HTTP"
	if slices.Contains(httpMethods, r.Method) {
		method, name = semconv.HTTPRequestMethodKey.String(r.Method), r.Method
	}
	ctx := s.propagator.Extract(r.Context(), propagation.HeaderCarrier(r.Header))
	return s.tracer.Start(ctx, name+" "+checkPrefix, trace.WithSpanKind(trace.SpanKindServer),
		trace.WithAttributes(method, semconv.HTTPRoute(checkPrefix)))
}

func (s *spans) endHTTP(span trace.Span, status int) {
	span.SetAttributes(semconv.HTTPResponseStatusCode(status))
	span.End()
}

// recordDecision adds the decision to the span in ctx, with the facts about the request
// that the decision log shows, but without the key's user.
func (s *spans) recordDecision(ctx context.Context, d *authz.Decision, r *authz.Request) {
	if s == nil {
		return
	}
	span := trace.SpanFromContext(ctx)
	if !span.IsRecording() {
		return
	}
	decision, reason := "deny", d.Reason
	switch {
	case d.Shadow != authz.ReasonUnspecified:
		decision, reason = "shadow", d.Shadow
	case d.Allowed:
		decision = "allow"
	}
	span.SetAttributes(attribute.String("extauthz.decision", decision), attribute.String("extauthz.reason", reason.String()),
		attribute.String("extauthz.cache.layer", d.Layer.String()), clientText("extauthz.path", d.Path))
	if d.Resource != "" {
		span.SetAttributes(clientText("extauthz.resource", d.Resource), clientText("extauthz.action", d.Action))
	}
	if id := lineOf(r, "x-request-id"); id != "" {
		span.SetAttributes(clientText("extauthz.request_id", id))
	}
}

// recordUndecided marks the span in ctx as failed. The reason is only in the log, which
// limits its rate.
func (s *spans) recordUndecided(ctx context.Context) {
	if s == nil {
		return
	}
	span := trace.SpanFromContext(ctx)
	span.SetAttributes(attribute.String("extauthz.decision", "error"), attribute.String("extauthz.reason", "undecided"))
	span.SetStatus(otelcodes.Error, "no decision could be made")
}

// clientText returns a text that a client may have chosen, in the form in which it may be
// logged. It is a copy, since spans outlive the request. It is valid UTF-8: another text
// would keep all spans of its batch from being sent.
func clientText(name, value string) attribute.KeyValue {
	return attribute.String(name, strings.Clone(strings.ToValidUTF8(clip(value), "\uFFFD")))
}

// metadataCarrier reads the metadata of a gRPC call. A name with several values counts as
// absent.
type metadataCarrier struct{ ctx context.Context }

var _ propagation.TextMapCarrier = metadataCarrier{}

func (c metadataCarrier) Get(name string) string {
	if values := metadata.ValueFromIncomingContext(c.ctx, name); len(values) == 1 {
		return values[0]
	}
	return ""
}

// Set does nothing: the metadata is only read.
func (c metadataCarrier) Set(string, string) {}

func (c metadataCarrier) Keys() []string {
	md, _ := metadata.FromIncomingContext(c.ctx)
	names := make([]string, 0, len(md))
	for name := range md {
		names = append(names, name)
	}
	return names
}
