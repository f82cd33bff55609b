package usage

import (
	"hash/maphash"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"extauthz/authz"
)

type counterShard struct {
	mu       sync.RWMutex // held for reading while a counter is increased, so that no counter is increased after it was taken
	counters map[string]*counter
	// pending is the sum of all counters.
	pending atomic.Int64
	_       [cacheLine]byte // keeps the locks of two shards apart
}

type counter struct {
	count atomic.Uint64
	last  atomic.Int64 // Unix nanoseconds
}

func (u *Recorder) add(keyID string, n uint64, last int64) {
	sh := &u.shards[maphash.String(u.seed, keyID)%counterShards]
	sh.mu.RLock()
	if c := sh.counters[keyID]; c != nil {
		c.add(n, last)
		sh.pending.Add(int64(n))
		sh.mu.RUnlock()
		return
	}
	sh.mu.RUnlock()

	sh.mu.Lock()
	defer sh.mu.Unlock()
	c := sh.counters[keyID]
	if c == nil {
		if len(sh.counters) >= u.limit {
			u.Dropped.Add(n)
			return
		}
		c = new(counter)
		sh.counters[strings.Clone(keyID)] = c // a record's text would keep the whole record in memory
	}
	c.add(n, last)
	sh.pending.Add(int64(n))
}

// add counts n uses. The time of the last use only moves forward.
func (c *counter) add(n uint64, last int64) {
	c.count.Add(n)
	for {
		before := c.last.Load()
		if last <= before || c.last.CompareAndSwap(before, last) {
			return
		}
	}
}

// take returns the counts that are least or higher, with their keys, and sets them to 0.
// If least is 1, it drops counters that were not used since the last call.
func (u *Recorder) take(least uint64) (taken []authz.Usage) {
	for i := range u.shards {
		sh := &u.shards[i]
		sh.mu.Lock()
		for id, c := range sh.counters {
			switch n := c.count.Load(); {
			case n == 0 && least == 1:
				delete(sh.counters, id)
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
