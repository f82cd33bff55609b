package membership

import (
	"context"
	"hash/maphash"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"extauthz/cachesvc/internal/budget"
	"extauthz/cachesvc/internal/freshness"
)

// Look-ups of prefixes that the filter does not know and that go to the database all the
// same, since another replica may have made the key a moment ago: enough for every new
// key's first use, and little for a flood of forgeries. Beyond it they wait for the feed.
const (
	UnknownPerSecond = 200
	UnknownBurst     = 200
)

// Retry is the pause after a load that failed.
const Retry = time.Second

const (
	// bulkPause is how long the prefixes are not read from a database that has just
	// committed a bulk change: it is busy with that change, and with reads of the
	// values in use.
	bulkPause = 3 * time.Second
	headroom  = 2       // how much may be added before the filter is built again
	minKeys   = 1 << 16 // that a filter is made for
)

// Filter knows which prefixes can't be a key's: forged keys of the right form
// cost no look-up of their own then. It is loaded from the database and fed by
// every change. It answers "no such key" only after a complete feed read that began
// after the check came (inquiry.go), since another replica may have made the key
// a moment before; where that can't be had, the check is throttled. Its only
// answer is "no such key", so it can't admit a client.
type Filter struct {
	Config
	budget *budget.Budget

	seed   maphash.Seed
	filter atomic.Pointer[bloomFilter] // nil: nothing is known
	// incomplete: the filter lacks prefixes, so that one that it does not know may be a
	// key's. Known prefixes are looked up as usual.
	incomplete atomic.Bool

	mu        sync.Mutex
	meanwhile []uint64 // hashes of what was learned during a load; nil: none is on
	history   uint64   // grows when what was loaded means nothing any more
	wanted    chan struct{}
}

// Config of a [Filter]. All fields are required.
type Config struct {
	Source Source
	Lease  *freshness.Lease
	Clock  *freshness.Clock
	Logger *slog.Logger
	// Await reports whether a complete feed read began after the call.
	Await func(ctx context.Context) bool
}

// Source lists the prefixes of all keys.
type Source interface {
	Prefixes(ctx context.Context, yield func(prefix string) error) error
}

// New returns a filter of which nothing is known. It does no I/O.
func New(c Config) *Filter {
	return &Filter{Config: c, seed: maphash.MakeSeed(), wanted: make(chan struct{}, 1),
		budget: budget.New(time.Second/UnknownPerSecond, UnknownBurst)}
}

func (m *Filter) hash(prefix string) uint64 { return maphash.String(m.seed, prefix) }

// Screen decides whether a prefix is looked up. Look-ups of prefixes that no key had a
// moment ago are limited by a budget, so that a flood of them leaves the database to real
// keys. Beyond it a check waits, for ctx or some 150 ms at most, for a feed read that all
// such checks share.
func (m *Filter) Screen(ctx context.Context, prefix string) Verdict {
	f, now := m.filter.Load(), m.Clock.Monotonic()
	if f == nil || f.has(m.hash(prefix)) || m.budget.Take(now) {
		return LookUp
	}
	if m.incomplete.Load() || !m.Lease.Fresh(now) || !m.Await(ctx) {
		return Throttled
	}
	switch f = m.filter.Load(); {
	case f == nil || m.incomplete.Load(): // the history that it knew has ended
		return Throttled
	case f.has(m.hash(prefix)):
		return LookUp
	default:
		return Unknown
	}
}

// Verdict is how a look-up of an id that is not in L1 proceeds.
type Verdict uint8

// The verdicts.
const (
	LookUp    Verdict = iota
	Unknown           // there is no such id
	Throttled         // too many ids that probably do not exist are looked up now
)

// Learn adds a prefix that may be new. Call it before the read that returned it renews
// the lease.
func (m *Filter) Learn(prefix string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	h := m.hash(prefix)
	if m.meanwhile != nil {
		m.meanwhile = append(m.meanwhile, h)
	}
	if f := m.filter.Load(); f != nil {
		if f.add(h); f.full() {
			m.requestLoad()
		}
	}
}

// Discard drops everything: what was learned belongs to another history. Until
// startHistory every prefix may be a key's.
func (m *Filter) Discard() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.history++
	m.filter.Store(nil)
}

// StartHistory begins a history, whose first change is learned from now on.
func (m *Filter) StartHistory() {
	m.Discard()
	m.requestLoad()
}

// ReloadLater is for a bulk change, which may have created any number of keys that the
// feed does not list one by one. It has to be called before the lease is renewed.
func (m *Filter) ReloadLater() {
	m.mu.Lock()
	m.history++
	m.incomplete.Store(true)
	m.mu.Unlock()
	time.AfterFunc(bulkPause, m.requestLoad)
}

func (m *Filter) requestLoad() {
	select {
	case m.wanted <- struct{}{}:
	default: // one is due already
	}
}

// Count returns how many prefixes are known, or -1 before the first load.
func (m *Filter) Count() int {
	if f := m.filter.Load(); f != nil {
		return int(f.added.Load())
	}
	return -1
}

// Run loads whenever a load is due, until ctx ends.
func (m *Filter) Run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-m.wanted:
		}
		err := m.load(ctx)
		if err == nil || ctx.Err() != nil {
			continue
		}
		m.Logger.Warn("the keys' prefixes can't be read; forged keys cost a look-up each until they can", "error", err)
		select {
		case <-ctx.Done():
		case <-time.After(Retry):
		}
		m.requestLoad()
	}
}

// load reads all prefixes into a new filter. Changes that arrive meanwhile get into it
// as well; if its history ended meanwhile, it is discarded.
func (m *Filter) load(ctx context.Context) error {
	m.mu.Lock()
	history := m.history
	m.meanwhile = []uint64{}
	m.mu.Unlock()
	var hashes []uint64
	err := m.Source.Prefixes(ctx, func(prefix string) error {
		hashes = append(hashes, m.hash(prefix))
		return nil
	})
	f := newBloomFilter(max(minKeys, len(hashes)*headroom))
	for _, h := range hashes {
		f.add(h)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, h := range m.meanwhile {
		f.add(h)
	}
	m.meanwhile = nil
	if err == nil && m.history == history {
		m.filter.Store(f)
		m.incomplete.Store(false)
	}
	return err
}
