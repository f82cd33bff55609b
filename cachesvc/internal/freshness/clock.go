package freshness

import (
	"sync/atomic"
	"time"
)

// Clock gives two times. Monotonic time measures ages. Keys expire by the database's
// time, so that all replicas agree on the moment. The database's time is monotonic time
// plus an offset that each feed read measures.
type Clock struct {
	Now    func() time.Time // the local wall clock, with a monotonic reading
	origin time.Time

	offset atomic.Int64 // database time = origin + monotonic time + offset
	Drift  atomic.Int64 // database time - local wall clock, at the last read
}

// NewClock returns a clock whose monotonic time begins at 0. Until the first
// [Clock.Observe] the database's time is the local one.
func NewClock(now func() time.Time) *Clock { return &Clock{Now: now, origin: now()} }

// Monotonic returns the time since the clock was made; steps of the wall clock do not
// change it.
func (c *Clock) Monotonic() time.Duration { return c.Now().Sub(c.origin) }

// Observe records the database's time, taken at some moment between start and end.
func (c *Clock) Observe(database time.Time, start, end time.Duration) {
	if database.IsZero() {
		return
	}
	middle := start + (end-start)/2
	c.offset.Store(int64(database.Sub(c.origin.Round(0).Add(middle))))
	wall := c.Now().Round(0).Add(middle - end)
	c.Drift.Store(int64(database.Sub(wall)))
}

// DatabaseTime converts a monotonic time to the database's time.
func (c *Clock) DatabaseTime(at time.Duration) time.Time {
	return c.origin.Round(0).Add(at + time.Duration(c.offset.Load()))
}

// MonotonicAt converts a time of the database's clock to monotonic time.
func (c *Clock) MonotonicAt(database time.Time) time.Duration {
	return database.Sub(c.origin.Round(0)) - time.Duration(c.offset.Load())
}
