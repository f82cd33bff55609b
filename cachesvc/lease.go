package cachesvc

import (
	"sync/atomic"
	"time"
)

// lease says how long the window of recent changes counts as complete. It runs
// from the start of the last complete feed read, not from its end: what was
// committed while the read was on its way may be missing from it.
type lease struct {
	term     time.Duration // database reachable: L1 is believed so long
	maxStale time.Duration // database away: L1 is believed so long

	start   atomic.Int64  // of the last complete read, monotonic; noRead for none
	renewed chan struct{} // gets a value whenever start was renewed; one goroutine may wait
}

const noRead = -1

func newLease(term, maxStale time.Duration) *lease {
	l := &lease{term: term, maxStale: maxStale, renewed: make(chan struct{}, 1)}
	l.start.Store(noRead)
	return l
}

// renew counts from start, which is when a read that is now complete began.
func (l *lease) renew(start time.Duration) {
	l.start.Store(int64(start))
	select {
	case l.renewed <- struct{}{}:
	default: // the last one was not yet taken
	}
}

// startedSince reports whether the last complete read began at now or later.
func (l *lease) startedSince(now time.Duration) bool {
	start := l.start.Load()
	return start != noRead && time.Duration(start) >= now
}

// void ends the lease: nothing is known any more.
func (l *lease) void() { l.start.Store(noRead) }

func (l *lease) holds(now time.Duration) bool  { return l.within(now, l.term) }
func (l *lease) stands(now time.Duration) bool { return l.within(now, l.maxStale) }

func (l *lease) within(now, term time.Duration) bool {
	start := l.start.Load()
	return start != noRead && now < time.Duration(start)+term
}

// age is the time since the start of the last complete read; false for none.
func (l *lease) age(now time.Duration) (time.Duration, bool) {
	start := l.start.Load()
	return now - time.Duration(start), start != noRead
}
