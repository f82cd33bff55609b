package telemetry

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/contrib/propagators/b3"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc/credentials/insecure"
)

// service is the service name in traces, unless OTEL_SERVICE_NAME sets another.
const service = "extauthz"

// Limits of sending. maxQueue and maxBatch are numbers of spans; spans beyond maxQueue
// are dropped.
const (
	maxQueue      = 2048
	maxBatch      = 512
	sendEvery     = time.Second
	exportTimeout = 10 * time.Second // retries included
)

// reportEvery is the least time between two log lines about lost spans.
const reportEvery = time.Minute

// Config holds what Traces need. All fields are required.
type Config struct {
	// Endpoint is the collector's URL: http://HOST:PORT for plain text, or
	// https://HOST:PORT for TLS with the system's authorities.
	Endpoint   string
	Version    string
	Logger     *slog.Logger
	Registerer prometheus.Registerer
}

// Traces sends spans to a collector. Safe for concurrent use.
type Traces struct {
	provider *sdktrace.TracerProvider
	exporter sdktrace.SpanExporter
	version  string
}

// New starts to send what the Tracer makes. It does not wait for the collector, so that
// an unreachable one does not prevent a start. The caller must call Shutdown.
func New(ctx context.Context, c Config) (*Traces, error) {
	if c.Endpoint == "" || c.Logger == nil || c.Registerer == nil {
		return nil, errors.New("telemetry: an endpoint, a logger and a registerer are needed")
	}
	about, err := resource.New(ctx, resource.WithTelemetrySDK(),
		resource.WithAttributes(semconv.ServiceName(service), semconv.ServiceVersion(c.Version)),
		resource.WithFromEnv())
	if err != nil {
		return nil, err
	}
	options := []otlptracegrpc.Option{otlptracegrpc.WithEndpointURL(c.Endpoint), otlptracegrpc.WithTimeout(exportTimeout)}
	if strings.HasPrefix(c.Endpoint, "http://") { // otherwise OTEL_EXPORTER_OTLP_CERTIFICATE would switch TLS on
		options = append(options, otlptracegrpc.WithTLSCredentials(insecure.NewCredentials()))
	}
	exporter, err := otlptracegrpc.New(ctx, options...)
	if err != nil {
		return nil, err
	}
	queue := newQueue(c.Registerer)
	t := &Traces{version: c.Version, exporter: &rationed{SpanExporter: exporter, queue: queue, log: c.Logger, now: time.Now}}
	queue.SpanProcessor = sdktrace.NewBatchSpanProcessor(t.exporter, sdktrace.WithMaxQueueSize(maxQueue), sdktrace.WithMaxExportBatchSize(maxBatch),
		sdktrace.WithBatchTimeout(sendEvery), sdktrace.WithExportTimeout(exportTimeout))
	t.provider = sdktrace.NewTracerProvider(sdktrace.WithResource(about),
		// The gateway decides what is sampled. A request that it does not trace is not
		// traced here.
		sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.NeverSample())),
		sdktrace.WithSpanProcessor(queue))
	return t, nil
}

// Tracer returns the tracer for spans.
func (t *Traces) Tracer() trace.Tracer {
	return t.provider.Tracer(service, trace.WithInstrumentationVersion(t.version), trace.WithSchemaURL(semconv.SchemaURL))
}

// Propagator finds the parent span in what a gateway sends: W3C Trace Context, or B3 in
// one header or several. If both are sent, W3C Trace Context counts.
func (t *Traces) Propagator() propagation.TextMapPropagator {
	return propagation.NewCompositeTextMapPropagator(b3.New(), propagation.TraceContext{}) // the last one counts
}

// Shutdown sends the waiting spans until ctx ends, and drops the rest.
func (t *Traces) Shutdown(ctx context.Context) error {
	err := t.provider.Shutdown(ctx)
	if err != nil {
		_ = t.exporter.Shutdown(ctx) // stops sending the current batch
	}
	return err
}

// rationed logs lost spans at a limited rate. It hides the error from the SDK, which
// would log a line of its own for every batch.
type rationed struct {
	sdktrace.SpanExporter
	queue *queue
	log   *slog.Logger
	now   func() time.Time

	mu       sync.Mutex
	reported time.Time
	lost     int
}

func (r *rationed) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	r.queue.taken(len(spans))
	err := r.SpanExporter.ExportSpans(ctx, spans)
	if err == nil {
		return nil
	}
	r.queue.undelivered.Add(float64(len(spans)))
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lost += len(spans)
	if now := r.now(); now.Sub(r.reported) >= reportEvery {
		r.log.WarnContext(ctx, "traces are not delivered: checks go on; look at telemetry.otlp_endpoint and the collector", "error", err, "spans_lost", r.lost)
		r.reported, r.lost = now, 0
	}
	return nil
}
