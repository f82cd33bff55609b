package cachesvc

import (
	"sync/atomic"
	"time"
)

// budget is a rate with a burst, without a lock (the generic cell rate
// algorithm): next is when the burst would be whole again.
type budget struct {
	interval, burst time.Duration
	next            atomic.Int64
}

// take reports whether one more is within the budget, and takes it.
func (b *budget) take(now time.Duration) bool {
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

// newBudget returns a full budget of one in each interval, and so many at once.
func newBudget(interval time.Duration, burst int) *budget {
	return &budget{interval: interval, burst: time.Duration(burst) * interval}
}
