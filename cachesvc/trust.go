package cachesvc

import (
	"time"

	"extauthz/cachesvc/internal/freshness"
)

// trust decides whether a value may be used. All readers of a service share one trust.
type trust struct {
	clock  *freshness.Clock
	window *freshness.Window
	lease  *freshness.Lease
	outage freshness.Outage
	seams
}

// seams are the steps that the promise of this package depends on. They are fields so
// that an option can replace one: the model test breaks each in turn, and must detect it.
type seams struct {
	fresh    func(freshness.Topic, *freshness.Stamp) bool // called at each delivery
	renew    func(start time.Duration)                    // extends the lease after a complete feed read
	learnAll func(now time.Duration)                      // records a bulk change
	readAt   func(database time.Time) (at time.Duration)  // when another replica read a value
}

func newTrust(c Config) *trust {
	t := &trust{clock: freshness.NewClock(c.Now), window: freshness.NewWindow(c.Retention), lease: freshness.NewLease(c.Lease, c.MaxStale)}
	t.seams = seams{fresh: t.window.Fresh, renew: t.lease.Renew, learnAll: t.window.LearnAll, readAt: t.clock.MonotonicAt}
	return t
}
