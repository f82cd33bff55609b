package freshness

import (
	"sync/atomic"
	"time"
)

// Lease says how long the window of recent changes counts as complete. It runs
// from the start of the last complete feed read, not from its end: what was
// committed while the read was on its way may be missing from it.
type Lease struct {
	Term     time.Duration // database reachable: L1 is believed so long
	maxStale time.Duration // database away: L1 is believed so long

	start   atomic.Int64  // of the last complete read, monotonic; noRead for none
	Renewed chan struct{} // gets a value whenever start was renewed; one goroutine may wait
}

const noRead = -1

func NewLease(term, maxStale time.Duration) *Lease {
	l := &Lease{Term: term, maxStale: maxStale, Renewed: make(chan struct{}, 1)}
	l.start.Store(noRead)
	return l
}

// Renew counts from start, which is when a read that is now complete began.
func (l *Lease) Renew(start time.Duration) {
	l.start.Store(int64(start))
	select {
	case l.Renewed <- struct{}{}:
	default: // the last one was not yet taken
	}
}

// StartedSince reports whether the last complete read began at now or later.
func (l *Lease) StartedSince(now time.Duration) bool {
	start := l.start.Load()
	return start != noRead && time.Duration(start) >= now
}

// Void ends the lease: nothing is known any more.
func (l *Lease) Void() { l.start.Store(noRead) }

func (l *Lease) Fresh(now time.Duration) bool          { return l.within(now, l.Term) }
func (l *Lease) WithinMaxStale(now time.Duration) bool { return l.within(now, l.maxStale) }

func (l *Lease) within(now, term time.Duration) bool {
	start := l.start.Load()
	return start != noRead && now < time.Duration(start)+term
}

// Age is the time since the start of the last complete read; false for none.
func (l *Lease) Age(now time.Duration) (time.Duration, bool) {
	start := l.start.Load()
	return now - time.Duration(start), start != noRead
}
