package freshness

import (
	"sync/atomic"
	"time"
)

// ProbePause is how long after a failed look-up known keys are served without trying
// the database again.
const ProbePause = 250 * time.Millisecond

// Outage remembers that the database did not answer, so that not every look-up of a known
// key waits to find out again. One look-up in each [ProbePause] tries the database. The
// zero value is no outage. Safe for concurrent use.
type Outage struct {
	Down atomic.Bool
	next atomic.Int64 // when to try the database again, monotonic
}

// RecordFailure begins or prolongs an outage.
func (o *Outage) RecordFailure(now time.Duration) {
	o.next.Store(int64(now + ProbePause))
	o.Down.Store(true)
}

// RecordAnswer ends an outage.
func (o *Outage) RecordAnswer() {
	if o.Down.Load() {
		o.Down.Store(false)
	}
}

// ShouldPause reports whether the database should not be tried now. In an outage it is
// false for one caller in each pause.
func (o *Outage) ShouldPause(now time.Duration) bool {
	if !o.Down.Load() {
		return false
	}
	next := o.next.Load()
	return int64(now) < next || !o.next.CompareAndSwap(next, int64(now+ProbePause))
}
