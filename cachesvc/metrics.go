package cachesvc

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"extauthz/cachesvc/internal/remote"
)

// metrics are the metrics of this package. Counters of the hot path are plain atomics
// (stats.go), which each scrape reads. No label holds a key or a user.
type metrics struct {
	service *Service

	requests, entries, pending, flushed, dropped *prometheus.Desc
	feedAge, drift, breaker, refused, writes     *prometheus.Desc
	monitor, bytes                               *prometheus.Desc

	causes        map[CauseKind]prometheus.Counter
	vector        *prometheus.CounterVec
	lag           prometheus.Histogram
	storeDuration *prometheus.HistogramVec
}

// durationBuckets reach from a store on the same machine to the longest budget.
var durationBuckets = []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, 1, 5}

// lagBuckets: 10 ms is the bound while everything works, 1 s the bound if every
// notification is lost, 300 s the largest delay that the buckets distinguish.
var lagBuckets = []float64{.001, .002, .005, .01, .02, .05, .1, .25, .5, 1, 2, 5, 30, 300}

func newMetrics(s *Service) *metrics {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("extauthz_"+name, help, labels, nil)
	}
	m := &metrics{
		service:  s,
		bytes:    desc("cache_local_bytes", "Memory of the entries in process and of what finds them; hot entries as they are used come on top."),
		requests: desc("cache_requests_total", "Look-ups by layer and result.", "layer", "result"),
		entries:  desc("cache_entries", "Entries held, by layer and name space; -1 where the store does not answer.", "layer", "namespace"),
		pending:  desc("usage_pending_uses", "Uses of keys that are counted but not yet written."),
		flushed:  desc("usage_flushed_total", "Uses of keys written to the database."),
		dropped:  desc("usage_dropped_total", "Uses of keys not counted since too many keys were waiting to be written."),
		feedAge:  desc("feed_age_seconds", "Time since the start of the last complete read of the change feed; -1 before the first."),
		drift:    desc("database_clock_ahead_seconds", "How far the database's clock is ahead of the local one."),
		breaker:  desc("breaker_state", "Circuit breaker of a store: 0 closed (calls pass), 1 half open (one call tries), 2 open (no call passes).", "store"),
		refused:  desc("cache_refused_total", "Values in Redis that were not what was sealed, and were rejected."),
		writes:   desc("cache_writes_dropped_total", "Values that could not be written to Redis."),
		monitor:  desc("cache_monitor_warning", "1 while the named monitor of the cache warns, else 0.", "monitor"),
		storeDuration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "extauthz_store_duration_seconds", Help: "Time of calls to a store, by operation.", Buckets: durationBuckets,
		}, []string{"store", "op"}),
		vector: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "extauthz_cache_invalidations_total", Help: "Invalidations by cause.",
		}, []string{"cause"}),
		lag: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "extauthz_invalidation_lag_seconds", Help: "Time from a change in the database until this replica has learned it, by the database's clock.",
			Buckets: lagBuckets,
		}),
		causes: make(map[CauseKind]prometheus.Counter),
	}
	for _, kind := range []CauseKind{CauseFeed, CauseOwnWrite, CauseRequested, CauseEpoch, CauseTrimmed, CauseBulk, CauseMemory} {
		m.causes[kind] = m.vector.WithLabelValues(string(kind))
	}
	if s.shared != nil {
		s.shared.Observe = func(op string, took time.Duration) {
			m.storeDuration.WithLabelValues("redis", op).Observe(took.Seconds())
		}
	}
	observeDatabase := m.storeDuration.WithLabelValues("database", remote.OpGet)
	s.keys.observeLoad = func(d time.Duration) { observeDatabase.Observe(d.Seconds()) }
	s.roles.observeLoad = s.keys.observeLoad
	return m
}

// Describe implements prometheus.Collector.
func (m *metrics) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{m.requests, m.entries, m.bytes, m.pending, m.flushed, m.dropped, m.feedAge, m.drift,
		m.breaker, m.refused, m.writes, m.monitor} {
		to <- d
	}
	m.vector.Describe(to)
	m.lag.Describe(to)
	m.storeDuration.Describe(to)
}

// Collect implements prometheus.Collector.
func (m *metrics) Collect(to chan<- prometheus.Metric) {
	s := m.service
	total := func(d *prometheus.Desc, n uint64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), labels...)
	}
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	k, r := &s.keys.counts, &s.roles.counts
	total(m.requests, k.localHit.Load()+r.localHit.Load(), "local", "hit")
	total(m.requests, k.localNegative.Load()+r.localNegative.Load(), "local", "hit_unknown")
	total(m.requests, k.localMiss.Load()+r.localMiss.Load(), "local", "miss")
	total(m.requests, k.databaseFound.Load()+r.databaseFound.Load(), "database", "hit")
	total(m.requests, k.databaseNegative.Load()+r.databaseNegative.Load(), "database", "miss")
	total(m.requests, k.databaseError.Load()+r.databaseError.Load(), "database", "error")
	for _, e := range s.entries() {
		gauge(m.entries, float64(e.Entries), e.Layer, e.Namespace)
	}
	gauge(m.entries, float64(s.trust.window.Size()), "local", "recent_changes")
	gauge(m.bytes, float64(s.LocalBytes()))
	gauge(m.pending, float64(s.usage.Pending()))
	total(m.flushed, s.usage.Flushed.Load())
	total(m.dropped, s.usage.Dropped.Load())
	status := s.Status()
	gauge(m.feedAge, status.feedAgeSeconds())
	gauge(m.drift, status.DatabaseAhead.Seconds())
	if r := &s.sharedCounts; s.shared != nil {
		total(m.requests, r.hits.Load()+r.scopeHits.Load(), "redis", "hit")
		total(m.requests, r.misses.Load()+r.scopeMisses.Load(), "redis", "miss")
		total(m.requests, r.errors.Load(), "redis", "error")
		total(m.refused, r.refused.Load())
		total(m.writes, s.shared.Dropped.Load())
		gauge(m.breaker, map[remote.State]float64{remote.HalfOpen: 1, remote.Open: 2}[s.shared.Breaker.State()], "redis")
	}
	gauge(m.breaker, map[bool]float64{false: 2, true: 0}[status.DatabaseUp], "database")
	for _, f := range s.Findings() {
		gauge(m.monitor, map[bool]float64{false: 1, true: 0}[f.OK], f.Monitor)
	}
	m.vector.Collect(to)
	m.lag.Collect(to)
	m.storeDuration.Collect(to)
}
