package budget

import (
	"sync/atomic"
	"time"
)

// Budget is a rate with a burst, without a lock (the generic cell rate algorithm). next
// is when the whole burst is available again.
type Budget struct {
	interval, burst time.Duration
	next            atomic.Int64
}

// Take takes one from the budget, and reports whether it was available.
func (b *Budget) Take(now time.Duration) bool {
	for {
		before := b.next.Load()
		after := max(time.Duration(before), now) + b.interval
		if after-now > b.burst {
			return false
		}
		if b.next.CompareAndSwap(before, int64(after)) {
			return true
		}
	}
}

// New returns a full budget, from which burst can be taken at once and then one in each
// interval.
func New(interval time.Duration, burst int) *Budget {
	return &Budget{interval: interval, burst: time.Duration(burst) * interval}
}
