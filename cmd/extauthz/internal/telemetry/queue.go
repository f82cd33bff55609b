package telemetry

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

// queue lets no more spans wait than maxQueue and counts those that are lost,
// which the SDK's own queue, never full behind it, does not report.
type queue struct {
	sdktrace.SpanProcessor
	waiting           atomic.Int64
	full, undelivered prometheus.Counter
}

func newQueue(r prometheus.Registerer) *queue {
	lost := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "extauthz_spans_lost_total",
		Help: "Spans that reached no collector, by reason: queue_full (too many waited), not_delivered (the collector did not accept them)."}, []string{"reason"})
	r.MustRegister(lost)
	return &queue{full: lost.WithLabelValues("queue_full"), undelivered: lost.WithLabelValues("not_delivered")}
}

// OnEnd takes a span, or drops it where too many wait.
func (q *queue) OnEnd(s sdktrace.ReadOnlySpan) {
	if q.waiting.Add(1) > maxQueue {
		q.waiting.Add(-1)
		q.full.Inc()
		return
	}
	q.SpanProcessor.OnEnd(s)
}

// taken subtracts spans that no longer wait.
func (q *queue) taken(n int) { q.waiting.Add(-int64(n)) }
