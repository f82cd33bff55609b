package conditions

import (
	"context"
	"sync"
	"time"
)

// Check polls for a condition that no component reports by itself.
type Check struct {
	Every time.Duration
	// Now triggers a check before its time; nil: never.
	Now <-chan struct{}
	// Run sets and clears conditions. Its context ends after Every; one that
	// finds nothing out leaves the conditions as they are.
	Run func(ctx context.Context, r *Registry)
}

// Run runs each check at once, and again after each pause, until ctx ends. Each check
// has a goroutine of its own, so a slow one delays no other.
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
