package server

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"extauthz/models"
)

// beatEvery is a third of the time for which a beat keeps a replica counted.
const beatEvery = models.ReplicaTerm / 3

// replicas counts the living replicas, which divide the rates of keys among them. Before
// the first count the number is 1. If the database does not answer, the last number
// stays.
type replicas struct {
	db       *models.DB
	instance string
	living   atomic.Int64
	counted  chan struct{} // closed after the first count or the first failed attempt
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

// run counts until ctx ends, and then removes this replica from the count.
func (r *replicas) run(ctx context.Context) error {
	tick := time.NewTicker(beatEvery)
	defer tick.Stop()
	for {
		limited, cancel := context.WithTimeout(ctx, beatEvery)
		if n, err := r.db.Beat(limited, r.instance); err == nil { // /readyz reports that the database does not answer
			r.living.Store(int64(n))
		}
		cancel()
		r.first.Do(func() { close(r.counted) })
		select {
		case <-ctx.Done():
			gone, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
			defer cancel()
			_ = r.db.Leave(gone, r.instance) // after an error, the others stop counting this replica when its last beat is too old
			return nil
		case <-tick.C:
		}
	}
}

// awaitCount waits for the first count. Otherwise a new replica would allow whole rates,
// in addition to what the others allow. If the database can't be written, it waits only
// for the first attempt.
func (r *replicas) awaitCount(ctx context.Context) {
	select {
	case <-r.counted:
	case <-ctx.Done():
	}
}
