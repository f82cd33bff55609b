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

	"github.com/prometheus/client_golang/prometheus"
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
	traces, err := New(t.Context(), Config{Endpoint: endpoint, Version: "v1", Logger: slog.New(slog.NewJSONHandler(log, nil)), Registerer: prometheus.NewRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	return traces
}

// sampled returns a context with a span of a gateway that traces.
func sampled(t *testing.T) context.Context {
	return trace.ContextWithRemoteSpanContext(t.Context(), trace.NewSpanContext(trace.SpanContextConfig{
		TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}, TraceFlags: trace.FlagsSampled}))
}

func TestTraces_QueuedSpansAreSentAtShutdown(t *testing.T) {
	t.Setenv("OTEL_TRACES_SAMPLER", "always_on") // must not matter: the gateway decides
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

// TestTraces_DoNotBlockWithoutACollector: spans do not block, and the shutdown respects
// its deadline.
func TestTraces_DoNotBlockWithoutACollector(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0") // connections get no answer
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

// TestTraces_DroppedSpansAreCounted: every span is either delivered or counted as lost.
func TestTraces_DroppedSpansAreCounted(t *testing.T) {
	const made = 3 * maxQueue
	registry, collector := prometheus.NewRegistry(), parts.StartCollector(t)
	traces, err := New(t.Context(), Config{Endpoint: "http://" + collector.OTLP, Version: "v1", Logger: slog.New(slog.DiscardHandler), Registerer: registry})
	if err != nil {
		t.Fatal(err)
	}
	ctx := sampled(t)
	for range made {
		_, span := traces.Tracer().Start(ctx, "check")
		span.End()
	}
	if err := traces.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	lost := countLost(t, registry)
	if got := len(collector.Spans()); lost["queue_full"] == 0 || lost["not_delivered"] != 0 || got+lost["queue_full"] != made {
		t.Errorf("of %d spans %d were delivered, and lost are %v", made, got, lost)
	}
}

func countLost(t *testing.T, r *prometheus.Registry) map[string]int {
	t.Helper()
	families, err := r.Gather()
	if err != nil || len(families) != 1 {
		t.Fatal(families, err)
	}
	lost := map[string]int{}
	for _, m := range families[0].GetMetric() {
		lost[m.GetLabel()[0].GetValue()] = int(m.GetCounter().GetValue())
	}
	return lost
}

type failing struct{ err error }

func (f *failing) ExportSpans(context.Context, []sdktrace.ReadOnlySpan) error { return f.err }
func (f *failing) Shutdown(context.Context) error                             { return nil }

func TestTraces_LostSpansAreLoggedOnceAMinute(t *testing.T) {
	var log bytes.Buffer
	registry := prometheus.NewRegistry()
	now, collector := time.Unix(1e9, 0), &failing{errors.New("connection refused")}
	r := &rationed{SpanExporter: collector, queue: newQueue(registry), log: slog.New(slog.NewJSONHandler(&log, nil)), now: func() time.Time { return now }}
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
	if lost := countLost(t, registry); lost["not_delivered"] != 360 {
		t.Errorf("lost are %v", lost)
	}
	if n := strings.Count(log.String(), "\n"); n != 2 || !strings.Contains(log.String(), `"error":"connection refused","spans_lost":3}`) || !strings.Contains(log.String(), `"spans_lost":180}`) {
		t.Errorf("%d lines: %s", n, log.String())
	}
}

// known is a validator with fixed answers.
type known struct {
	layer authz.Layer
	err   error
}

func (k known) Lookup(context.Context, string, *authz.Scratch) (authz.Entry, error) {
	return authz.Entry{Layer: k.layer}, k.err
}

func (k known) RoleScopes(context.Context, *authz.Record, authz.Need) (authz.Scopes, error) {
	return nil, k.err
}

func (k known) RoleScopesFrom(context.Context, *authz.Record, authz.Need) (authz.Scopes, authz.Layer, error) {
	return nil, k.layer, k.err
}

func TestLookups_AreSpansWhereAStoreWasQueried(t *testing.T) {
	for name, look := range map[string]func(authz.Validator, context.Context) (authz.Layer, error){
		"look up key": func(v authz.Validator, ctx context.Context) (authz.Layer, error) {
			entry, err := v.Lookup(ctx, "p", nil)
			return entry.Layer, err
		},
		"look up roles": func(v authz.Validator, ctx context.Context) (authz.Layer, error) {
			_, err := v.RoleScopes(ctx, &authz.Record{}, authz.Need{})
			return authz.LayerNone, err
		},
	} {
		for _, c := range []struct {
			known
			want string // the layer in the span; "none": no span; "failed": a failed one
		}{
			{known{layer: authz.LayerLocal}, "none"}, {known{layer: authz.LayerNone}, "none"},
			{known{layer: authz.LayerRedis}, "redis"}, {known{layer: authz.LayerDatabase}, "database"}, {known{err: errors.New("down")}, "failed"},
		} {
			if got := spanOf(t, name, c.known, look); got != c.want {
				t.Errorf("%s, %+v: got %s, want %s", name, c.known, got, c.want)
			}
		}
	}
	throttled := known{err: authz.ErrThrottled}
	if got := spanOf(t, "look up key", throttled, func(v authz.Validator, ctx context.Context) (authz.Layer, error) {
		_, err := v.Lookup(ctx, "p", nil)
		return authz.LayerNone, err
	}); got != "none" {
		t.Errorf("throttled: got %s", got)
	}
}

// spanOf makes a look-up outside a traced check and one within, and returns the layer in
// the resulting span.
func spanOf(t *testing.T, name string, k known, look func(authz.Validator, context.Context) (authz.Layer, error)) string {
	t.Helper()
	ended := tracetest.NewSpanRecorder()
	tracer := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(ended), sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.NeverSample()))).Tracer("t")
	v := Lookups(k, tracer)
	asked := func(ctx context.Context) {
		t.Helper()
		if layer, err := look(v, ctx); layer != authz.LayerNone && layer != k.layer || !errors.Is(err, k.err) {
			t.Errorf("%s, %+v: got %v, %v", name, k, layer, err)
		}
	}
	if asked(t.Context()); len(ended.Ended()) != 0 {
		t.Errorf("untraced, %s, %+v: %d spans", name, k, len(ended.Ended()))
	}
	ctx, check := tracer.Start(sampled(t), "check")
	asked(ctx)
	got := "none"
	for _, span := range ended.Ended() {
		if span.Parent().SpanID() != check.SpanContext().SpanID() || span.Name() != name {
			t.Errorf("%+v: %s is no child of the check's", k, span.Name())
		}
		if got = "failed"; len(span.Attributes()) > 0 {
			got = span.Attributes()[0].Value.AsString()
		}
	}
	return got
}
