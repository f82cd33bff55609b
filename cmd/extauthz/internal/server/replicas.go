package server

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"extauthz/models"
)

// beatEvery fits three times into the term for which a replica counts.
const beatEvery = models.ReplicaTerm / 3

// replicas counts the replicas that live, for what they share. Before the first
// count it is one; if the database does not answer, the last number stays.
type replicas struct {
	db       *models.DB
	instance string
	living   atomic.Int64
	counted  chan struct{} // closed after the first count, or the first attempt that failed
	first    sync.Once
}

func newReplicas(registry prometheus.Registerer, db *models.DB, instance string) *replicas {
	r := &replicas{db: db, instance: instance, counted: make(chan struct{})}
	registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "extauthz_replicas", Help: "Replicas that this one counts as living, itself included: keys' rates are divided by it.",
	}, func() float64 { return float64(r.count()) }))
	return r
}

func (r *replicas) count() int { return int(max(r.living.Load(), 1)) }

// run counts until ctx ends, and then reports that this replica has gone.
func (r *replicas) run(ctx context.Context) error {
	tick := time.NewTicker(beatEvery)
	defer tick.Stop()
	for {
		limited, cancel := context.WithTimeout(ctx, beatEvery)
		if n, err := r.db.Beat(limited, r.instance); err == nil { // /readyz reports a database that can't be asked
			r.living.Store(int64(n))
		}
		cancel()
		r.first.Do(func() { close(r.counted) })
		select {
		case <-ctx.Done():
			gone, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
			defer cancel()
			_ = r.db.Leave(gone, r.instance) // it is forgotten by itself
			return nil
		case <-tick.C:
		}
	}
}

// awaitCount waits for the first count, so that a new replica does not allow whole rates
// in addition to the others; a database that can't be written does not keep it from
// serving.
func (r *replicas) awaitCount(ctx context.Context) {
	select {
	case <-r.counted:
	case <-ctx.Done():
	}
}
