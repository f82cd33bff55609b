package server

import (
	"context"
	"runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// countEvery is how often keys are counted: it reads the whole table.
const countEvery = 5 * time.Minute

// inventory is what there is, as metrics: the build, and keys by state.
type inventory struct {
	keys  *prometheus.GaugeVec
	count func(context.Context, time.Time) (map[string]int64, error)
	now   func() time.Time
}

func newInventory(r prometheus.Registerer, version string, count func(context.Context, time.Time) (map[string]int64, error), now func() time.Time) *inventory {
	build := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "extauthz_build_info", Help: "1, with the version that runs."}, []string{"version", "goversion"})
	build.WithLabelValues(version, runtime.Version()).Set(1)
	i := &inventory{count: count, now: now,
		keys: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "extauthz_keys", Help: "Keys in the database by state, counted every five minutes."}, []string{"state"})}
	r.MustRegister(build, i.keys)
	return i
}

// run counts until ctx ends. A count that fails leaves the last one: other
// metrics tell that the database is away.
func (i *inventory) run(ctx context.Context) error {
	tick := time.NewTicker(countEvery)
	defer tick.Stop()
	for {
		if counts, err := i.count(ctx, i.now()); err == nil {
			for _, state := range []string{"active", "disabled", "revoked", "expired"} {
				i.keys.WithLabelValues(state).Set(float64(counts[state]))
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}
