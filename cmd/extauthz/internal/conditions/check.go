package conditions

import (
	"context"
	"sync"
	"time"
)

// Check polls for a condition that no component reports by itself.
type Check struct {
	Every time.Duration
	// Now triggers a check before Every has passed; nil: never.
	Now <-chan struct{}
	// Run sets and clears conditions. Its context ends after Every. If Run can't find out
	// the state, it leaves the conditions as they are.
	Run func(ctx context.Context, r *Registry)
}

// Run runs each check at once, and again after each pause, until ctx ends. Each check has
// its own goroutine, so a slow check does not delay the others.
func (r *Registry) Run(ctx context.Context, checks ...Check) {
	var running sync.WaitGroup
	for _, c := range checks {
		running.Go(func() {
			tick := time.NewTicker(c.Every)
			defer tick.Stop()
			for {
				limited, cancel := context.WithTimeout(ctx, c.Every)
				c.Run(limited, r)
				cancel()
				select {
				case <-ctx.Done():
					return
				case <-tick.C:
				case <-c.Now:
				}
			}
		})
	}
	running.Wait()
}
