package cachesvc

import (
	"sync"
	"time"
)

const (
	breakerFailures = 3           // in a row, after which the store is left alone
	breakerPause    = time.Second // for so long, before one call tries again
	// breakerBreath is how long after one failure nothing is asked: so a check
	// waits for a dead store once, however many values it wants.
	breakerBreath = 100 * time.Millisecond
)

// BreakerState says whether a store is asked.
type BreakerState string

// The states of a breaker.
const (
	BreakerClosed   BreakerState = "closed"    // all calls go through
	BreakerOpen     BreakerState = "open"      // none does
	BreakerHalfOpen BreakerState = "half_open" // one does, and decides
)

// breaker keeps calls away from a store that does not answer. Safe for
// concurrent use.
type breaker struct {
	mu       sync.Mutex
	state    BreakerState
	failures int           // in a row
	quiet    time.Duration // until then nothing is asked, monotonic
}

func newBreaker() *breaker { return &breaker{state: BreakerClosed} }

// allow tells whether a call may be made now. Each true needs one call of done
// or of spared.
func (b *breaker) allow(now time.Duration) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if now < b.quiet || b.state == BreakerHalfOpen {
		return false
	}
	if b.state == BreakerOpen {
		b.state = BreakerHalfOpen
	}
	return true
}

// done takes in the outcome of a call, and tells whether the breaker opened or
// closed by it.
func (b *breaker) done(now time.Duration, failed bool) (changed bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	before := b.state
	if !failed {
		b.state, b.failures, b.quiet = BreakerClosed, 0, 0
		return before != BreakerClosed
	}
	b.failures++
	b.quiet = max(b.quiet, now+breakerBreath)
	if before != BreakerClosed || b.failures >= breakerFailures {
		b.state, b.quiet = BreakerOpen, now+breakerPause
	}
	return before == BreakerClosed && b.state == BreakerOpen
}

// spared takes back an allowed call that came to no outcome.
func (b *breaker) spared() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.state == BreakerHalfOpen {
		b.state = BreakerOpen
	}
}

func (b *breaker) current() BreakerState {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.state
}

// doubtful tells whether the last call failed.
func (b *breaker) doubtful() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.failures > 0 || b.state != BreakerClosed
}
