package freshness

import (
	"sync/atomic"
	"time"
)

// Clock tells two times: the monotonic one, which measures ages, and the
// database's, by which keys expire, so that all replicas agree on the moment.
// The latter is monotonic time and an offset measured at each feed read.
type Clock struct {
	Now    func() time.Time
	origin time.Time

	offset atomic.Int64 // database time = origin + monotonic time + offset
	Drift  atomic.Int64 // database time - local wall clock, at the last read
}

func NewClock(now func() time.Time) *Clock { return &Clock{Now: now, origin: now()} }

// Monotonic is the time since the clock was made; steps of the wall clock do
// not touch it.
func (c *Clock) Monotonic() time.Duration { return c.Now().Sub(c.origin) }

// Observe takes in what the database's clock said at some moment of a read.
func (c *Clock) Observe(database time.Time, start, end time.Duration) {
	if database.IsZero() {
		return
	}
	middle := start + (end-start)/2
	c.offset.Store(int64(database.Sub(c.origin.Round(0).Add(middle))))
	wall := c.Now().Round(0).Add(middle - end)
	c.Drift.Store(int64(database.Sub(wall)))
}

// DatabaseTime is the database's time at a monotonic time.
func (c *Clock) DatabaseTime(at time.Duration) time.Time {
	return c.origin.Round(0).Add(at + time.Duration(c.offset.Load()))
}

// MonotonicAt is the monotonic time of a moment that the database's clock tells.
func (c *Clock) MonotonicAt(database time.Time) time.Duration {
	return database.Sub(c.origin.Round(0)) - time.Duration(c.offset.Load())
}
