package telemetry

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

// queue lets at most maxQueue spans wait, and counts lost ones. The SDK's own queue does
// not report lost spans; behind this one it is never full.
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

// OnEnd queues a span, or drops it if too many are waiting.
func (q *queue) OnEnd(s sdktrace.ReadOnlySpan) {
	if q.waiting.Add(1) > maxQueue {
		q.waiting.Add(-1)
		q.full.Inc()
		return
	}
	q.SpanProcessor.OnEnd(s)
}

// taken records that n spans no longer wait.
func (q *queue) taken(n int) { q.waiting.Add(-int64(n)) }
