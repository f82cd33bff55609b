package authz

import (
	"hash/maphash"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Limit is what is left of a key's rate. The zero Limit means that the key has no rate.
type Limit struct {
	Rate      Rate
	Remaining int           // requests that would pass now, on this replica
	Reset     time.Duration // until the whole allowance is available again
}

// limiterShards divides the table, so that keys seldom wait for one another.
const limiterShards = 64

// Limiter enforces the rates of keys. A key may send its rate's count of requests at
// once, and its budget refills evenly over the period (the generic cell rate algorithm).
// Limiter does no I/O. Each replica allows its share, by the number of live replicas, but
// at least one request at a time.
//
// In any time W one Limiter lets through at most max(1, C/m) + C/m*W/P requests of a
// family with the rate C per P. Here m is the smallest number that replicas returned in
// W. The budget is P, or the cost of one request if that is more. A request costs n*P/C,
// where n is the number of replicas at that moment, and the budget regains the time that
// passes. A change of n changes the cost of a request, never the remaining budget.
//
// All replicas together let through at most the sum. A process starts with a whole
// budget, so a restart in W adds max(1, C/m). The bound does not cover a rate that is
// changed in W, nor families that were forgotten because more than the given number of
// keys were in use. Safe for concurrent use.
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
	cells map[string]*atomic.Int64 // by family: when its budget is whole again, in nanoseconds since start
}

// NewLimiter returns a limiter for the given number of keys; replicas returns the number
// of live replicas. If more keys than that are in use at once, some begin with a new
// budget: their rates can then be exceeded, but no request is refused wrongly.
func NewLimiter(keys int, replicas func() int, now func() time.Time) *Limiter {
	l := &Limiter{replicas: replicas, now: now, start: now(), seed: maphash.MakeSeed(), most: max(keys/limiterShards, 1)}
	for i := range l.shards {
		l.shards[i].cells = make(map[string]*atomic.Int64)
	}
	return l
}

// take counts one request of a family if it may pass; otherwise retry is how long the
// client has to wait. With peek nothing is counted.
func (l *Limiter) take(family string, rate Rate, peek bool) (limit Limit, retry time.Duration, ok bool) {
	now := l.now().Sub(l.start)
	each := max(rate.Per*time.Duration(max(l.replicas(), 1))/time.Duration(rate.Count), 1) // the cost of one request
	burst := max(rate.Per, each)
	cell := l.cell(family, now)
	for {
		was := cell.Load()
		// A changed rate applies at once: an older debt is cut to one period of the new
		// rate.
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
		sh.cells[strings.Clone(family)] = c // the text may otherwise keep its whole record in memory
	}
	return c
}

// shrink drops the cells whose budget is whole again, which changes no decision. If there
// is none, it drops any one cell.
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
