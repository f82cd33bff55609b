package cachesvc

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

const (
	// Look-ups of prefixes that the filter does not know and that go to the
	// database all the same, since another replica may have made the key a
	// moment ago: enough for every new key's first use, and little for a flood
	// of forgeries. Beyond it they wait for the feed.
	unknownPerSecond = 200
	unknownBurst     = 200

	memberRetry = time.Second // after a load that failed
	// bulkPause is how long the prefixes are not read from a database that has just
	// committed a bulk change: it is busy with that, and the values in use are read from it again.
	bulkPause      = 3 * time.Second
	memberHeadroom = 2       // how much may be added before the filter is built again
	memberLeast    = 1 << 16 // keys that a filter is made for at least
)

// membership knows which prefixes can't be a key's: forged keys of the right form
// cost no look-up of their own then. It is loaded from the database and fed by
// every change. It answers "no such key" only after a complete feed read that began
// after the check came (inquiry.go), since another replica may have made the key
// a moment before; where that can't be had, the check is throttled. Its only
// answer is "no such key", so it can't admit a client.
type membership struct {
	membershipConfig
	budget *budget.Budget

	seed   maphash.Seed
	filter atomic.Pointer[prefixFilter] // nil: nothing is known
	// incomplete: the filter lacks prefixes, so that one that it does not know may be a
	// key's. Those that it knows are looked up as ever.
	incomplete atomic.Bool

	mu        sync.Mutex
	meanwhile []uint64 // hashes of what was learned during a load; nil: none is on
	history   uint64   // grows when what was loaded means nothing any more
	wanted    chan struct{}
}

// membershipConfig says what a membership rests on. All fields are required.
type membershipConfig struct {
	source prefixSource
	lease  *freshness.Lease
	clock  *freshness.Clock
	log    *slog.Logger
	// await reports whether a complete feed read began after the call.
	await func(ctx context.Context) bool
}

// prefixSource lists the prefixes of all keys.
type prefixSource interface {
	Prefixes(ctx context.Context, yield func(prefix string) error) error
}

func newMembership(c membershipConfig) *membership {
	return &membership{membershipConfig: c, seed: maphash.MakeSeed(), wanted: make(chan struct{}, 1),
		budget: budget.New(time.Second/unknownPerSecond, unknownBurst)}
}

func (m *membership) hash(prefix string) uint64 { return maphash.String(m.seed, prefix) }

// screen decides whether a prefix is looked up. Prefixes that were no key's a
// moment ago have no more look-ups than their budget, so that a flood of them
// leaves the database to the keys. Beyond it a check waits, for ctx or some 150 ms
// at most, for a feed read that all such checks share.
func (m *membership) screen(ctx context.Context, prefix string) screening {
	f, now := m.filter.Load(), m.clock.Monotonic()
	if f == nil || f.has(m.hash(prefix)) || m.budget.Take(now) {
		return screenAsk
	}
	if m.incomplete.Load() || !m.lease.Fresh(now) || !m.await(ctx) {
		return screenThrottled
	}
	switch f = m.filter.Load(); {
	case f == nil || m.incomplete.Load(): // the history that it knew has ended
		return screenThrottled
	case f.has(m.hash(prefix)):
		return screenAsk
	default:
		return screenUnknown
	}
}

// screening is what is done with a look-up of an id that is not in L1.
type screening uint8

const (
	screenAsk       screening = iota
	screenUnknown             // there is no such id
	screenThrottled           // too many that are probably none are asked for just now
)

// learn adds a prefix that may be new. It has to be called before the read that brought it
// renews the lease.
func (m *membership) learn(prefix string) {
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

// discard drops everything: what was learned belongs to another history. Until
// startHistory every prefix may be a key's.
func (m *membership) discard() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.history++
	m.filter.Store(nil)
}

// startHistory begins a history, whose first change is learned from now on.
func (m *membership) startHistory() {
	m.discard()
	m.requestLoad()
}

// reloadLater is for a bulk change, which may have made any number of keys that are
// not learned one by one. It has to be called before the lease is renewed.
func (m *membership) reloadLater() {
	m.mu.Lock()
	m.history++
	m.incomplete.Store(true)
	m.mu.Unlock()
	time.AfterFunc(bulkPause, m.requestLoad)
}

func (m *membership) requestLoad() {
	select {
	case m.wanted <- struct{}{}:
	default: // one is due already
	}
}

// count returns how many prefixes are known, or -1 where none are known yet.
func (m *membership) count() int {
	if f := m.filter.Load(); f != nil {
		return int(f.added.Load())
	}
	return -1
}

// run loads whenever a load is due, until ctx ends.
func (m *membership) run(ctx context.Context) {
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
		m.log.Warn("the keys' prefixes can't be read; forged keys cost a look-up each until they can", "error", err)
		select {
		case <-ctx.Done():
		case <-time.After(memberRetry):
		}
		m.requestLoad()
	}
}

// load reads all prefixes into a new filter. What changes meanwhile gets into it
// as well; if its history ended meanwhile, it is discarded.
func (m *membership) load(ctx context.Context) error {
	m.mu.Lock()
	history := m.history
	m.meanwhile = []uint64{}
	m.mu.Unlock()
	var hashes []uint64
	err := m.source.Prefixes(ctx, func(prefix string) error {
		hashes = append(hashes, m.hash(prefix))
		return nil
	})
	f := newPrefixFilter(max(memberLeast, len(hashes)*memberHeadroom))
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
