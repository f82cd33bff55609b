package freshness

import (
	"sync/atomic"
	"time"
)

// Lease is the time for which the window of recent changes counts as complete. It runs
// from the start of the last complete feed read, not from its end: a change that was
// committed during the read may be missing from it. Safe for concurrent use.
type Lease struct {
	Term     time.Duration // how long L1 may answer by itself
	maxStale time.Duration // how long L1 may answer while the database is away

	start   atomic.Int64  // when the last complete read began, monotonic; noRead if there is none
	Renewed chan struct{} // receives a value at each renewal; one goroutine may wait
}

const noRead = -1

// NewLease returns a lease that is neither fresh nor within max_stale.
func NewLease(term, maxStale time.Duration) *Lease {
	l := &Lease{Term: term, maxStale: maxStale, Renewed: make(chan struct{}, 1)}
	l.start.Store(noRead)
	return l
}

// Renew makes the lease run from start: the moment at which a read began that is now
// complete.
func (l *Lease) Renew(start time.Duration) {
	l.start.Store(int64(start))
	select {
	case l.Renewed <- struct{}{}:
	default: // the last value was not received yet
	}
}

// StartedSince reports whether the last complete read began at the given time or later.
func (l *Lease) StartedSince(now time.Duration) bool {
	start := l.start.Load()
	return start != noRead && time.Duration(start) >= now
}

// Void ends the lease. The window counts as incomplete until the next complete read.
func (l *Lease) Void() { l.start.Store(noRead) }

// Fresh reports whether the last complete read began less than a term ago.
func (l *Lease) Fresh(now time.Duration) bool { return l.within(now, l.Term) }

// WithinMaxStale reports whether known keys may be served while the database is
// unreachable.
func (l *Lease) WithinMaxStale(now time.Duration) bool { return l.within(now, l.maxStale) }

func (l *Lease) within(now, term time.Duration) bool {
	start := l.start.Load()
	return start != noRead && now < time.Duration(start)+term
}

// Age returns the time since the start of the last complete read; false if there is none.
func (l *Lease) Age(now time.Duration) (time.Duration, bool) {
	start := l.start.Load()
	return now - time.Duration(start), start != noRead
}
