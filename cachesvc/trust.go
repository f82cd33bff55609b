package cachesvc

import "time"

// trust decides whether a value may be used. All readers of a service share one.
type trust struct {
	clock  *clock
	recent *recent
	lease  *lease
	outage outage
	seams
}

// seams are the steps that the promise of this package rests on. They are fields so that
// an option can exchange one: the model test breaks each in turn, to see that it would
// notice.
type seams struct {
	fresh    func(topic, *stamp) bool                    // asked at each delivery
	renew    func(start time.Duration)                   // extends the lease after a complete feed read
	learnAll func(now time.Duration)                     // takes in a bulk change
	readAt   func(database time.Time) (at time.Duration) // of a value that another replica has read
}

func newTrust(c Config) *trust {
	t := &trust{clock: newClock(c.Now), recent: newRecent(c.Retention), lease: newLease(c.Lease, c.MaxStale)}
	t.seams = seams{fresh: t.recent.fresh, renew: t.lease.renew, learnAll: t.recent.learnAll, readAt: t.clock.at}
	return t
}
