package telemetry

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"extauthz/authz"
	"extauthz/e2e/parts"
)

func open(t *testing.T, endpoint string, log *bytes.Buffer) *Traces {
	t.Helper()
	traces, err := New(t.Context(), Config{Endpoint: endpoint, Version: "v1", Logger: slog.New(slog.NewJSONHandler(log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	return traces
}

// sampled is a context in which a gateway traces.
func sampled(t *testing.T) context.Context {
	return trace.ContextWithRemoteSpanContext(t.Context(), trace.NewSpanContext(trace.SpanContextConfig{
		TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}, TraceFlags: trace.FlagsSampled}))
}

func TestWhatWaitsIsSentAtTheEnd(t *testing.T) {
	t.Setenv("OTEL_TRACES_SAMPLER", "always_on") // the gateway decides all the same
	c := parts.NewCertificates(t)
	t.Setenv("OTEL_EXPORTER_OTLP_CERTIFICATE", c.CAFile)
	serving, err := credentials.NewServerTLSFromFile(c.CertFile, c.KeyFile)
	if err != nil {
		t.Fatal(err)
	}
	plain, secure := parts.StartCollector(t), parts.StartCollector(t, grpc.Creds(serving))
	for endpoint, collector := range map[string]*parts.Collector{"http://" + plain.OTLP: plain, "https://" + secure.OTLP + "/": secure} {
		var log bytes.Buffer
		traces := open(t, endpoint, &log)
		for _, ctx := range []context.Context{sampled(t), t.Context()} {
			_, span := traces.Tracer().Start(ctx, "check")
			span.End()
		}
		if err := traces.Shutdown(t.Context()); err != nil {
			t.Fatal(err)
		}
		if spans := collector.Spans(); len(spans) != 1 || spans[0].Service != "extauthz" || spans[0].Parent != "0200000000000000" {
			t.Errorf("%s got %+v: %s", endpoint, spans, log.String())
		}
	}
}

// TestNobodyWaitsForACollectorThatIsAway: no span, and the end no longer than it
// is given.
func TestNobodyWaitsForACollectorThatIsAway(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0") // answers nothing
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	var log bytes.Buffer
	traces := open(t, "http://"+l.Addr().String(), &log)
	ctx := sampled(t)
	for range 10 * maxQueue {
		_, span := traces.Tracer().Start(ctx, "check")
		span.End()
	}
	end, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := traces.Shutdown(end); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

type failing struct{ err error }

func (f *failing) ExportSpans(context.Context, []sdktrace.ReadOnlySpan) error { return f.err }
func (f *failing) Shutdown(context.Context) error                             { return nil }

func TestLostSpansAreToldOnceAMinuteWithTheirNumber(t *testing.T) {
	var log bytes.Buffer
	now, collector := time.Unix(1e9, 0), &failing{errors.New("connection refused")}
	r := &rationed{SpanExporter: collector, log: slog.New(slog.NewJSONHandler(&log, nil)), now: func() time.Time { return now }}
	batch := tracetest.SpanStubs{{}, {}, {}}.Snapshots()
	for range 120 {
		if err := r.ExportSpans(t.Context(), batch); err != nil {
			t.Fatal("the SDK would write a line of its own")
		}
		now = now.Add(time.Second)
	}
	collector.err = nil
	if err := r.ExportSpans(t.Context(), batch); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(log.String(), "\n"); n != 2 || !strings.Contains(log.String(), `"error":"connection refused","spans_lost":3}`) || !strings.Contains(log.String(), `"spans_lost":180}`) {
		t.Errorf("%d lines: %s", n, log.String())
	}
}

// known is a validator that says what it was told to.
type known struct {
	layer authz.Layer
	err   error
}

func (k known) Lookup(context.Context, string, *authz.Scratch) (authz.Entry, error) {
	return authz.Entry{Layer: k.layer}, k.err
}

func (k known) RoleScopes(context.Context, *authz.Record, authz.Need) (authz.Scopes, error) {
	return nil, nil
}

func TestALookUpIsASpanWhereAStoreWasAsked(t *testing.T) {
	for _, c := range []struct {
		known
		want string // of the layer; "none": no span; "failed"
	}{
		{known{layer: authz.LayerLocal}, "none"}, {known{layer: authz.LayerNone}, "none"}, {known{err: authz.ErrThrottled}, "none"},
		{known{layer: authz.LayerRedis}, "redis"}, {known{layer: authz.LayerDatabase}, "database"}, {known{err: errors.New("down")}, "failed"},
	} {
		ended := tracetest.NewSpanRecorder()
		tracer := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(ended), sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.NeverSample()))).Tracer("t")
		v := Lookups(c.known, tracer)
		if entry, err := v.Lookup(t.Context(), "p", nil); entry.Layer != c.layer || !errors.Is(err, c.err) || len(ended.Ended()) != 0 {
			t.Errorf("untraced, %+v: got %v, %v, %d spans", c.known, entry, err, len(ended.Ended()))
		}
		ctx, check := tracer.Start(sampled(t), "check")
		if entry, err := v.Lookup(ctx, "p", nil); entry.Layer != c.layer || !errors.Is(err, c.err) {
			t.Errorf("%+v: got %v, %v", c.known, entry, err)
		}
		got := "none"
		for _, span := range ended.Ended() {
			if span.Parent().SpanID() != check.SpanContext().SpanID() || span.Name() != "look up key" {
				t.Errorf("%+v: %s is no child of the check's", c.known, span.Name())
			}
			if got = "failed"; len(span.Attributes()) > 0 {
				got = span.Attributes()[0].Value.AsString()
			}
		}
		if got != c.want {
			t.Errorf("%+v: got %s, want %s", c.known, got, c.want)
		}
	}
}
