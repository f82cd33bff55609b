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

// Prefixes that the filter does not know are looked up in the database at this rate at
// most, since another replica may have made the key a moment ago. That is enough for
// every new key's first use, and little for a flood of forgeries. Checks beyond it wait
// for the feed.
const (
	UnknownPerSecond = 200
	UnknownBurst     = 200
)

// Retry is the pause after a load that failed.
const Retry = time.Second

const (
	// bulkPause is how long the filter waits after a bulk change before it reads the
	// prefixes. The database is still busy with that change, and with reads of the values
	// in use.
	bulkPause = 3 * time.Second
	headroom  = 2       // times the present number of keys: the capacity of a new filter
	minKeys   = 1 << 16 // the least capacity of a filter
)

// Filter knows which prefixes no key has, so that forged keys of the right form cost no
// look-up of their own. It is loaded from the database and fed by every change. It
// answers "no such key" only after a complete feed read that began after the check
// arrived (inquiry.go), since another replica may have made the key a moment before. If
// no such read is possible, the check is throttled. Its only answer is "no such key", so
// it can't admit a client.
type Filter struct {
	Config
	budget *budget.Budget

	seed   maphash.Seed
	filter atomic.Pointer[bloomFilter] // nil: it is not loaded
	// incomplete: the filter may lack prefixes of keys, so a prefix that it does not know
	// is throttled beyond the budget. Known prefixes are looked up as usual.
	incomplete atomic.Bool

	mu        sync.Mutex
	meanwhile []uint64 // hashes of prefixes that were learned during a load; nil if none is running
	history   uint64   // grows when what a load has read becomes invalid
	wanted    chan struct{}
}

// Config is the configuration of a [Filter]. All fields are required.
type Config struct {
	Source Source
	Lease  *freshness.Lease
	Clock  *freshness.Clock
	Logger *slog.Logger
	// Await waits for a complete feed read that began after the call, and reports whether
	// there was one.
	Await func(ctx context.Context) bool
}

// Source lists the prefixes of all keys.
type Source interface {
	Prefixes(ctx context.Context, yield func(prefix string) error) error
}

// New returns a filter that is not loaded. It does no I/O.
func New(c Config) *Filter {
	return &Filter{Config: c, seed: maphash.MakeSeed(), wanted: make(chan struct{}, 1),
		budget: budget.New(time.Second/UnknownPerSecond, UnknownBurst)}
}

func (m *Filter) hash(prefix string) uint64 { return maphash.String(m.seed, prefix) }

// Screen decides whether a prefix is looked up. Prefixes that no key had a moment ago are
// looked up within a budget, so that a flood of them leaves the database to real keys.
// Beyond the budget a check waits for a feed read, which all such checks share, until ctx
// ends or for about 225 ms at most: one read under way, the pause and its own read.
func (m *Filter) Screen(ctx context.Context, prefix string) Verdict {
	f, now := m.filter.Load(), m.Clock.Monotonic()
	if f == nil || f.has(m.hash(prefix)) || m.budget.Take(now) {
		return LookUp
	}
	if m.incomplete.Load() || !m.Lease.Fresh(now) || !m.Await(ctx) {
		return Throttled
	}
	switch f = m.filter.Load(); {
	case f == nil || m.incomplete.Load(): // the filter's history has ended meanwhile
		return Throttled
	case f.has(m.hash(prefix)):
		return LookUp
	default:
		return Unknown
	}
}

// Verdict decides how a look-up of an id that is not in L1 proceeds.
type Verdict uint8

// The verdicts.
const (
	LookUp    Verdict = iota
	Unknown           // there is no such id
	Throttled         // too many ids that probably do not exist are looked up at present
)

// Learn adds a prefix that may be new. The caller must add the prefixes that a feed read
// returned before that read renews the lease.
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

// Discard empties the filter, since what it learned belongs to another history. Until it
// is loaded again every prefix is looked up.
func (m *Filter) Discard() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.history++
	m.filter.Store(nil)
}

// StartHistory empties the filter and requests a load. Changes of the new history are
// learned from now on.
func (m *Filter) StartHistory() {
	m.Discard()
	m.requestLoad()
}

// ReloadLater is called for a bulk change, which may have created any number of keys that
// the feed does not list one by one. It must be called before the lease is renewed.
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
	default: // a load is due already
	}
}

// Count returns how many prefixes are known, or -1 before the first load.
func (m *Filter) Count() int {
	if f := m.filter.Load(); f != nil {
		return int(f.added.Load())
	}
	return -1
}

// Run loads the filter whenever a load is due, until ctx ends.
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

// load reads all prefixes into a new filter. Prefixes that are learned meanwhile are
// added too. If the history ends meanwhile, the new filter is discarded.
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
