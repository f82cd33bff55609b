package authz

import (
	"hash/maphash"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Limit is what is left of a key's rate. The zero Limit: it has no rate.
type Limit struct {
	Rate      Rate
	Remaining int           // requests that would pass now, on this replica
	Reset     time.Duration // until all of them would
}

// limiterShards divides the table, so that keys seldom wait for one another.
const limiterShards = 64

// Limiter enforces the rates of keys: a rate's count at once, refilled evenly over its
// period (the generic cell rate algorithm). It does no I/O. Each replica allows its
// share, by the number of live replicas, but at least one request at a time.
//
// In any time W one Limiter lets through at most max(1, C/m) + C/m*W/P requests of a
// family with the rate C per P, where m is the smallest number that replicas returned in
// that time: a request takes n*P/C of a budget of P (or of one request, where that is
// more), n being the number just then, and the budget grows by what time passes. A change
// of n changes the cost of a request, never the remaining allowance. All replicas
// together let through at most the sum; a process that starts begins with a whole budget,
// so a restart in W adds max(1, C/m). Not within this bound: a rate that is changed in W,
// and families that were forgotten since more than keys were in use. Safe for concurrent
// use.
type Limiter struct {
	replicas func() int
	now      func() time.Time
	start    time.Time
	seed     maphash.Seed
	most     int // cells a shard
	shards   [limiterShards]limiterShard
}

type limiterShard struct {
	mu    sync.RWMutex
	cells map[string]*atomic.Int64 // by family: when its budget would be whole again, from start
}

// NewLimiter returns a limiter for the given number of keys; replicas returns the number
// of live replicas. Of more keys than that in use at once, some begin anew: their rates
// are then exceeded, and no request is refused wrongly.
func NewLimiter(keys int, replicas func() int, now func() time.Time) *Limiter {
	l := &Limiter{replicas: replicas, now: now, start: now(), seed: maphash.MakeSeed(), most: max(keys/limiterShards, 1)}
	for i := range l.shards {
		l.shards[i].cells = make(map[string]*atomic.Int64)
	}
	return l
}

// take counts one request of a family if it may pass; otherwise retry is how long to
// wait. With peek it counts nothing.
func (l *Limiter) take(family string, rate Rate, peek bool) (limit Limit, retry time.Duration, ok bool) {
	now := l.now().Sub(l.start)
	each := max(rate.Per*time.Duration(max(l.replicas(), 1))/time.Duration(rate.Count), 1) // between requests, evenly
	burst := max(rate.Per, each)
	cell := l.cell(family, now)
	for {
		was := cell.Load()
		// A rate that was changed counts from now on: no debt is longer than one
		// period.
		if time.Duration(was) > now+burst {
			cell.CompareAndSwap(was, int64(now+burst))
			continue
		}
		full := max(time.Duration(was), now)
		after := full + each
		if ok = after-now <= burst; !ok {
			return Limit{Rate: rate, Reset: full - now}, after - now - burst, false
		}
		limit = Limit{Rate: rate, Remaining: int((burst - (after - now)) / each), Reset: after - now}
		if peek {
			limit.Remaining++
			return limit, 0, true
		}
		if cell.CompareAndSwap(was, int64(after)) {
			return limit, 0, true
		}
	}
}

func (l *Limiter) cell(family string, now time.Duration) *atomic.Int64 {
	sh := &l.shards[maphash.String(l.seed, family)%limiterShards]
	sh.mu.RLock()
	c := sh.cells[family]
	sh.mu.RUnlock()
	if c != nil {
		return c
	}
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if c = sh.cells[family]; c == nil {
		if len(sh.cells) >= l.most {
			sh.shrink(now)
		}
		c = new(atomic.Int64)
		sh.cells[strings.Clone(family)] = c // a record's text may keep all of it in memory
	}
	return c
}

// shrink drops what is whole again, which changes nothing, and if that is
// nothing, any one.
func (sh *limiterShard) shrink(now time.Duration) {
	before := len(sh.cells)
	for family, c := range sh.cells {
		if time.Duration(c.Load()) <= now {
			delete(sh.cells, family)
		}
	}
	if len(sh.cells) < before {
		return
	}
	for family := range sh.cells {
		delete(sh.cells, family)
		return
	}
}
