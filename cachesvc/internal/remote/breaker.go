package remote

import (
	"sync"
	"time"
)

const (
	failureLimit = 3           // number of failures in a row that opens the breaker
	openPause    = time.Second // how long an open breaker waits before one call tries again
	// FailurePause is how long the store is not called after one failure, so that a check
	// waits for a dead store once, however many values it needs.
	FailurePause = 100 * time.Millisecond
)

// State is the state of a breaker: it decides which calls of the store are made.
type State string

// The states of a breaker.
const (
	Closed   State = "closed"    // all calls go through
	Open     State = "open"      // no call goes through
	HalfOpen State = "half_open" // one call goes through, and its outcome opens or closes the breaker
)

// Breaker keeps calls away from a store that does not answer. Safe for
// concurrent use.
type Breaker struct {
	mu       sync.Mutex
	state    State
	failures int           // number of failures in a row
	quiet    time.Duration // no call is made before this time, monotonic
}

func newBreaker() *Breaker { return &Breaker{state: Closed} }

// allow reports whether a call may be made now. If so, the caller must call record or
// cancel once.
func (b *Breaker) allow(now time.Duration) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if now < b.quiet || b.state == HalfOpen {
		return false
	}
	if b.state == Open {
		b.state = HalfOpen
	}
	return true
}

// record records the outcome of a call, and reports whether this opened or closed the
// breaker.
func (b *Breaker) record(now time.Duration, failed bool) (changed bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	before := b.state
	if !failed {
		b.state, b.failures, b.quiet = Closed, 0, 0
		return before != Closed
	}
	b.failures++
	b.quiet = max(b.quiet, now+FailurePause)
	if before != Closed || b.failures >= failureLimit {
		b.state, b.quiet = Open, now+openPause
	}
	return before == Closed && b.state == Open
}

// cancel ends an allowed call that had no outcome.
func (b *Breaker) cancel() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.state == HalfOpen {
		b.state = Open
	}
}

// State returns the present state.
func (b *Breaker) State() State {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.state
}

// suspect reports whether the last call failed.
func (b *Breaker) suspect() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.failures > 0 || b.state != Closed
}
