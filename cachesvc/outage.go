package cachesvc

import (
	"sync/atomic"
	"time"
)

// probePause is how long after a failed look-up known keys are served without
// asking the database again.
const probePause = 250 * time.Millisecond

// outage remembers that the database did not answer, so that not every look-up
// of a known key waits to find out again: one asks in each pause.
type outage struct {
	down atomic.Bool
	next atomic.Int64 // when to ask again, monotonic
}

func (o *outage) failed(now time.Duration) {
	o.next.Store(int64(now + probePause))
	o.down.Store(true)
}

func (o *outage) answered() {
	if o.down.Load() {
		o.down.Store(false)
	}
}

// pausing tells whether to leave the database alone now. In an outage it is
// false for one caller in each pause.
func (o *outage) pausing(now time.Duration) bool {
	if !o.down.Load() {
		return false
	}
	next := o.next.Load()
	return int64(now) < next || !o.next.CompareAndSwap(next, int64(now+probePause))
}
