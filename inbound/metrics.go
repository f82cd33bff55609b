package inbound

import "github.com/prometheus/client_golang/prometheus"

// Metrics holds the metrics of all listeners.
type Metrics struct {
	ended      *prometheus.CounterVec
	refused    prometheus.Counter
	registerer prometheus.Registerer
}

// NewMetrics makes the metrics and registers them.
func NewMetrics(r prometheus.Registerer) *Metrics {
	m := &Metrics{registerer: r,
		ended: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "extauthz_listener_closed_total",
			Help: "Connections closed for a limit: connections (too many at once), memory (too much held for requests that are not complete), stalled (neither sends what it began nor reads its answers)."}, []string{"listener", "limit"}),
		refused: prometheus.NewCounter(prometheus.CounterOpts{Name: "extauthz_grpc_refused_streams_total",
			Help: "Calls over gRPC that were answered UNAVAILABLE, since more than half of grpc.max_pending_mib is in use and their connection has more than its share."})}
	r.MustRegister(m.ended, m.refused)
	return m
}

// watch exports a listener's connections and the memory that is held for them.
func (m *Metrics) watch(l *Listener) {
	labels := prometheus.Labels{"listener": l.c.Name}
	m.registerer.MustRegister(
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "extauthz_listener_connections", Help: "Open connections.", ConstLabels: labels},
			func() float64 { return float64(l.open()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "extauthz_listener_connections_max", Help: "Connections that may be open.", ConstLabels: labels},
			func() float64 { return float64(l.c.Connections) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "extauthz_listener_pending_bytes", Help: "Memory held for requests that are not complete or not answered, by estimate.", ConstLabels: labels},
			func() float64 { return float64(l.pending.Load()) }))
	for _, reason := range []string{reasonConnections, reasonMemory, reasonStalled} {
		m.ended.WithLabelValues(l.c.Name, reason)
	}
}

func (m *Metrics) closed(listener, reason string) { m.ended.WithLabelValues(listener, reason).Inc() }
