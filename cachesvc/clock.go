package cachesvc

import (
	"sync/atomic"
	"time"
)

// clock tells two times: the monotonic one, which measures ages, and the
// database's, by which keys expire, so that all replicas agree on the moment.
// The latter is monotonic time and an offset measured at each feed read.
type clock struct {
	now    func() time.Time
	origin time.Time

	offset atomic.Int64 // database time = origin + monotonic time + offset
	drift  atomic.Int64 // database time - local wall clock, at the last read
}

func newClock(now func() time.Time) *clock { return &clock{now: now, origin: now()} }

// monotonic is the time since the clock was made; steps of the wall clock do
// not touch it.
func (c *clock) monotonic() time.Duration { return c.now().Sub(c.origin) }

// observe takes in what the database's clock said at some moment of a read.
func (c *clock) observe(database time.Time, start, end time.Duration) {
	if database.IsZero() {
		return
	}
	middle := start + (end-start)/2
	c.offset.Store(int64(database.Sub(c.origin.Round(0).Add(middle))))
	wall := c.now().Round(0).Add(middle - end)
	c.drift.Store(int64(database.Sub(wall)))
}

// database is the database's time at a monotonic time.
func (c *clock) database(at time.Duration) time.Time {
	return c.origin.Round(0).Add(at + time.Duration(c.offset.Load()))
}

// at is the monotonic time of a moment that the database's clock tells.
func (c *clock) at(database time.Time) time.Duration {
	return database.Sub(c.origin.Round(0)) - time.Duration(c.offset.Load())
}
