package server

import (
	"context"
	"database/sql"
	"runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// countEvery is the time between two counts of keys, each of which reads the whole table.
const countEvery = 5 * time.Minute

// inventory exports metrics of the build, and of the keys by state.
type inventory struct {
	keys  *prometheus.GaugeVec
	count func(context.Context, time.Time) (map[string]int64, error)
	now   func() time.Time
	also  func(context.Context) // called after each count
}

func newInventory(r prometheus.Registerer, version string, count func(context.Context, time.Time) (map[string]int64, error), now func() time.Time) *inventory {
	build := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "extauthz_build_info", Help: "1, with the version that runs."}, []string{"version", "goversion"})
	build.WithLabelValues(version, runtime.Version()).Set(1)
	i := &inventory{count: count, now: now,
		keys: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "extauthz_keys", Help: "Keys in the database by state, counted every five minutes."}, []string{"state"})}
	r.MustRegister(build, i.keys)
	return i
}

// registerConnections adds metrics about the use of the database's connections. While all
// are in use, look-ups wait for one.
func registerConnections(r prometheus.Registerer, stats func() sql.DBStats) {
	gauge := func(name, help string, labels prometheus.Labels, value func(sql.DBStats) float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help, ConstLabels: labels}, func() float64 { return value(stats()) })
	}
	const open = "Connections to the database by state."
	r.MustRegister(
		gauge("extauthz_database_connections", open, prometheus.Labels{"state": "in_use"}, func(s sql.DBStats) float64 { return float64(s.InUse) }),
		gauge("extauthz_database_connections", open, prometheus.Labels{"state": "idle"}, func(s sql.DBStats) float64 { return float64(s.Idle) }),
		gauge("extauthz_database_connections_max", "Connections to the database at most.", nil, func(s sql.DBStats) float64 { return float64(s.MaxOpenConnections) }),
		prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "extauthz_database_connection_wait_seconds_total", Help: "Time that was waited for a connection to the database."},
			func() float64 { return stats().WaitDuration.Seconds() }))
}

// run counts until ctx ends. If a count fails, the last figures stay; other metrics show
// that the database is away.
func (i *inventory) run(ctx context.Context) error {
	tick := time.NewTicker(countEvery)
	defer tick.Stop()
	for {
		if counts, err := i.count(ctx, i.now()); err == nil {
			for _, state := range []string{"active", "disabled", "revoked", "expired"} {
				i.keys.WithLabelValues(state).Set(float64(counts[state]))
			}
		}
		if i.also != nil {
			i.also(ctx)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}
