package cachesvc

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"extauthz/authz"
)

const (
	usageShards   = 64
	usageBatch    = 1000        // keys in one write
	usageTick     = time.Second // a key goes to the database at most so often
	flushDeadline = 10 * time.Second
)

// usage counts the uses of keys in process until they are written: to the
// shared store each second (usagejournal.go), or to the database where there is
// none that may be used (usagedirect.go). No lock is shared by all keys.
type usage struct {
	log   *slog.Logger
	every time.Duration // on the direct way, all that is counted goes so often

	collectEvery time.Duration // from the shared store to the database

	at    uint64 // on the direct way, a key with so many uses is due at the next tick
	limit int    // keys in a shard

	seed   maphash.Seed
	shards [usageShards]usageShard

	writing chan struct{} // holds one token: one flush at a time
	direct  directUsage
	journal journal
	failing atomic.Bool
	flushed atomic.Uint64
	dropped atomic.Uint64
}

type usageShard struct {
	mu    sync.RWMutex // read-held while a counter is raised, so that none is raised after it was taken
	cells map[string]*usageCell
	// pending is the sum of all cells.
	pending atomic.Int64
	_       [shardMargin]byte
}

type usageCell struct {
	count atomic.Uint64
	last  atomic.Int64 // Unix nanoseconds
}

func newUsage(c Config, shared *shared) *usage {
	u := &usage{log: c.Logger, every: c.FlushEvery, collectEvery: c.CollectEvery, at: c.FlushAt, seed: maphash.MakeSeed(), writing: make(chan struct{}, 1)}
	u.direct = directUsage{stream: stream{source: c.Instance + "-d"}, sink: c.Database, written: &u.flushed}
	u.journal = journal{stream: stream{source: c.Instance + "-r"}, shared: shared, sink: c.Database, log: c.Logger, written: &u.flushed,
		now: c.Now, missing: make(map[string]time.Time)}
	u.limit = max(c.MaxKeys/usageShards, 1)
	for i := range u.shards {
		u.shards[i].cells = make(map[string]*usageCell)
	}
	return u
}

// Used counts one use of a key. It does no I/O; a key that was used since the
// last flush costs no allocation. Safe for concurrent use.
func (s *Service) Used(keyID string, at time.Time) { s.usage.add(keyID, 1, at.UnixNano()) }

// Flush writes all that was counted to the database, through the shared store
// if that is the way, waiting for a flush on its way. To be called at shutdown,
// when no more checks come. What could not be written is kept.
func (s *Service) Flush(ctx context.Context) error { return s.usage.flush(ctx, true, true) }

func (u *usage) add(keyID string, n uint64, last int64) {
	sh := &u.shards[maphash.String(u.seed, keyID)%usageShards]
	sh.mu.RLock()
	if c := sh.cells[keyID]; c != nil {
		c.add(n, last)
		sh.pending.Add(int64(n))
		sh.mu.RUnlock()
		return
	}
	sh.mu.RUnlock()

	sh.mu.Lock()
	defer sh.mu.Unlock()
	c := sh.cells[keyID]
	if c == nil {
		if len(sh.cells) >= u.limit {
			u.dropped.Add(n)
			return
		}
		c = new(usageCell)
		sh.cells[strings.Clone(keyID)] = c // a record's text keeps all of it in memory
	}
	c.add(n, last)
	sh.pending.Add(int64(n))
}

// add moves the last use forward only.
func (c *usageCell) add(n uint64, last int64) {
	c.count.Add(n)
	for {
		before := c.last.Load()
		if last <= before || c.last.CompareAndSwap(before, last) {
			return
		}
	}
}

// run flushes until ctx ends: what is due at each tick, all of it each interval.
func (u *usage) run(ctx context.Context) {
	tick := min(usageTick, u.every)
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	var flushed, collected time.Duration // since
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		flushed, collected = flushed+tick, collected+tick
		all, collect := flushed >= u.every, collected >= u.collectEvery
		if all {
			flushed = 0
		}
		if collect {
			collected = 0
		}
		flushCtx, cancel := context.WithTimeout(ctx, flushDeadline)
		u.tell(u.flush(flushCtx, all, collect))
		cancel()
	}
}

// tell logs a change from working to failing and back, not each failure.
func (u *usage) tell(err error) {
	switch failing := err != nil; {
	case failing == u.failing.Swap(failing):
	case failing:
		u.log.Warn("usage can't be written to the database; it is kept and tried again", "error", err)
	default:
		u.log.Info("usage is written to the database again")
	}
}

// flush writes what is counted to the shared store, and with collect from there
// to the database; or straight to the database what is due there, or all.
func (u *usage) flush(ctx context.Context, all, collect bool) error {
	select {
	case u.writing <- struct{}{}:
		defer func() { <-u.writing }()
	case <-ctx.Done():
		return fmt.Errorf("flushing usage: another flush is on its way: %w", ctx.Err())
	}
	if u.journal.usable(ctx) && u.journal.write(ctx, func() []authz.Usage { return u.take(1) }) == nil {
		if !collect {
			return nil
		}
		return errors.Join(u.journal.collect(ctx), u.direct.write(ctx, nothing)) // what an outage has left there
	}
	least := u.at
	if all {
		least = 1
	}
	return u.direct.write(ctx, func() []authz.Usage { return u.take(least) })
}

func nothing() []authz.Usage { return nil }

// take moves counters out. Those that were not used since the last time go away.
func (u *usage) take(least uint64) (taken []authz.Usage) {
	for i := range u.shards {
		sh := &u.shards[i]
		sh.mu.Lock()
		for id, c := range sh.cells {
			switch n := c.count.Load(); {
			case n == 0 && least == 1:
				delete(sh.cells, id)
			case n >= least:
				c.count.Store(0)
				sh.pending.Add(-int64(n))
				taken = append(taken, authz.Usage{KeyID: id, Count: n, LastUsedAt: time.Unix(0, c.last.Load()).UTC()})
			}
		}
		sh.mu.Unlock()
	}
	return taken
}

// pending is the number of uses that are not yet written.
func (u *usage) pending() (n int64) {
	for i := range u.shards {
		n += u.shards[i].pending.Load()
	}
	return n + u.direct.waiting.Load() + u.journal.waiting.Load()
}
