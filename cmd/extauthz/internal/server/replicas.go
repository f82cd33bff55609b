package server

import (
	"context"
	"sync/atomic"
	"time"

	"extauthz/models"
)

// beatEvery is three times in the term for which a replica counts.
const beatEvery = models.ReplicaTerm / 3

// replicas counts the replicas that live, for what they share. Until the first
// count, and if the database does not answer, the last number stays.
type replicas struct {
	db       *models.DB
	instance string
	living   atomic.Int64
}

func (r *replicas) count() int { return int(max(r.living.Load(), 1)) }

// run counts until ctx ends, and then says that this one is gone.
func (r *replicas) run(ctx context.Context) error {
	tick := time.NewTicker(beatEvery)
	defer tick.Stop()
	for {
		limited, cancel := context.WithTimeout(ctx, beatEvery)
		if n, err := r.db.Beat(limited, r.instance); err == nil { // who can't be counted is told by /readyz
			r.living.Store(int64(n))
		}
		cancel()
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
