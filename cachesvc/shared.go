package cachesvc

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"

	"extauthz/cachesvc/internal/freshness"
	"extauthz/cachesvc/store"
)

// Shared is a store that all replicas share: Redis. It is never an authority:
// what it brings is believed only if it is sealed and nothing newer is known,
// and what it loses costs time and nothing else.
type Shared interface {
	store.Store
	Ping(ctx context.Context) error
	Memory(ctx context.Context) (store.Memory, error)
	// Publish rings all who subscribe to the channel just now.
	Publish(ctx context.Context, channel string, payload []byte) error
	// Subscribe calls connected whenever a subscription has come to stand and
	// heard with each payload, until ctx ends; a lost connection is made anew.
	Subscribe(ctx context.Context, channel string, connected func(), heard func(payload []byte)) error
}

const (
	sharedQueue = 4096        // writes that may wait
	sharedBatch = 128         // writes that go together
	sharedSlow  = time.Second // budget of what no check waits for
	probeEvery  = 250 * time.Millisecond
	probeKey    = "apikey:probe" // written to find out whether a full store takes writes again
)

var (
	errNotShared   = errors.New("no shared store is configured")
	errLeftAlone   = errors.New("the shared store is left alone, since it did not answer")
	errSharedStore = errors.New("the shared store failed")
)

// shared asks the shared store within a budget and behind a breaker. A nil
// *shared is none. Safe for concurrent use.
type shared struct {
	store   Shared
	clock   *freshness.Clock
	log     *slog.Logger
	budget  time.Duration // of what a check waits for
	breaker *breaker
	full    atomic.Bool
	observe func(op string, took time.Duration)
	// filter leaves out what is not to be written; nil: nothing is left out.
	filter func(context.Context, []store.Item) []store.Item

	writes  chan store.Item // that wait to be written
	dropped atomic.Uint64
}

func newShared(s Shared, clock *freshness.Clock, log *slog.Logger, budget time.Duration) *shared {
	if s == nil {
		return nil
	}
	return &shared{store: s, clock: clock, log: log, budget: budget, breaker: newBreaker(),
		writes: make(chan store.Item, sharedQueue), observe: func(string, time.Duration) {}}
}

// do makes one call within a budget. An error is the store's or the breaker's.
func (s *shared) do(ctx context.Context, op string, budget time.Duration, call func(context.Context) error) error {
	if s == nil {
		return errNotShared
	}
	start := s.clock.Monotonic()
	if !s.breaker.allow(start) {
		return errLeftAlone
	}
	limited, cancel := context.WithTimeout(ctx, budget)
	err := call(limited)
	cancel()
	end := s.clock.Monotonic()
	s.observe(op, end-start)
	if err != nil && ctx.Err() != nil { // whoever asked has left
		s.breaker.spared()
		return ctx.Err()
	}
	full := isFull(err)
	if full != s.full.Load() && (full || writes(op)) && s.full.CompareAndSwap(!full, full) {
		if full {
			s.log.Warn("Redis is full and refuses writes: raise its maxmemory or set maxmemory-policy volatile-lru; checks go on")
		} else {
			s.log.Info("Redis takes writes again")
		}
	}
	if s.breaker.done(end, err != nil && !full) {
		if err != nil {
			s.log.Warn("Redis does not answer and is left alone; checks go on from the process and the database", "op", op, "error", err)
		} else {
			s.log.Info("Redis answers again")
		}
	}
	if err != nil {
		return fmt.Errorf("%w: %w", errSharedStore, err)
	}
	return nil
}

// isFull tells an answer from a store that is full from one that is away.
func isFull(err error) bool {
	var answer interface {
		error
		RedisError()
	}
	return errors.As(err, &answer) && strings.HasPrefix(answer.Error(), "OOM ")
}

func writes(op string) bool { return op == opSet || op == opUsage }

// Operations: the label op of store_duration_seconds.
const (
	opGet        = "get"
	opSet        = "set"
	opInvalidate = "invalidate"
	opPublish    = "publish"
	opUsage      = "usage"
	opCount      = "count"
	opMemory     = "memory"
	opPing       = "ping"
)

// get reads one value for a check.
func (s *shared) get(ctx context.Context, key string) (value []byte, found bool, err error) {
	err = s.do(ctx, opGet, s.budget, func(ctx context.Context) error {
		value, found, err = s.store.Get(ctx, key)
		return err
	})
	return value, found, err
}

// later writes an item behind the caller's back; with too many of them waiting
// it is dropped.
func (s *shared) later(item store.Item) {
	select {
	case s.writes <- item:
	default:
		s.dropped.Add(1)
	}
}

// run writes what waits, and finds out whether a store that failed is away, and
// when it is back, until ctx ends.
func (s *shared) run(ctx context.Context) {
	probe := time.NewTicker(probeEvery)
	defer probe.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case item := <-s.writes:
			s.write(ctx, s.gather(item))
		case <-probe.C:
			s.probe(ctx)
		}
	}
}

// probe asks a store that failed or was full; the breaker and do tell the outcome.
func (s *shared) probe(ctx context.Context) {
	switch {
	case s.breaker.doubtful():
		_ = s.do(ctx, opPing, s.budget, s.store.Ping)
	case s.full.Load():
		_ = s.do(ctx, opSet, s.budget, func(ctx context.Context) error {
			return s.store.Set(ctx, store.Item{Key: probeKey, TTL: time.Second})
		})
	}
}

func (s *shared) gather(item store.Item) []store.Item {
	items := []store.Item{item}
	for len(items) < sharedBatch {
		select {
		case item := <-s.writes:
			items = append(items, item)
		default:
			return items
		}
	}
	return items
}

// write is told by the breaker if it fails: what is not in the shared store is
// a miss.
func (s *shared) write(ctx context.Context, items []store.Item) {
	if s.filter != nil {
		items = s.filter(ctx, items)
	}
	if len(items) == 0 {
		return
	}
	err := s.do(ctx, opSet, sharedSlow, func(ctx context.Context) error { return s.store.MSet(ctx, items...) })
	if err != nil {
		s.dropped.Add(uint64(len(items)))
	}
}

// present tells the state for people: "none", "up", "full", "half_open" or "open".
func (s *shared) present() string {
	switch {
	case s == nil:
		return "none"
	case s.breaker.current() != BreakerClosed:
		return string(s.breaker.current())
	case s.full.Load():
		return "full"
	default:
		return "up"
	}
}
