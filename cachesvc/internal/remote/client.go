package remote

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

// Store is a store that all replicas share: Redis. It is never an authority: a value
// from it is trusted only if it is sealed and nothing newer is known, and lost values
// cost time and nothing else.
type Store interface {
	store.Store
	Ping(ctx context.Context) error
	Memory(ctx context.Context) (store.Memory, error)
	// Publish sends the payload to all present subscribers of the channel.
	Publish(ctx context.Context, channel string, payload []byte) error
	// Subscribe calls connected whenever a subscription begins, and receive with each
	// payload, until ctx ends. It replaces a lost connection.
	Subscribe(ctx context.Context, channel string, connected func(), receive func(payload []byte)) error
}

const (
	// BatchSize is how many values are read or written together.
	BatchSize = 128
	// BackgroundBudget is the budget of a call for which no check waits.
	BackgroundBudget = time.Second

	queueSize  = 4096 // writes that may wait
	probeEvery = 250 * time.Millisecond
	probeKey   = "apikey:probe" // written to find out whether a full store takes writes again
)

// Errors of [Client.Do].
var (
	ErrNotConfigured = errors.New("no shared store is configured")
	ErrBreakerOpen   = errors.New("the shared store is not asked, since it did not answer before")
	ErrStore         = errors.New("the shared store failed")
)

// Client calls the shared store within a budget and behind a breaker. A nil *Client
// stands for no store. The fields Observe and Filter are set before it is used. Safe
// for concurrent use.
type Client struct {
	Store   Store
	Budget  time.Duration // budget of a call for which a check waits
	Breaker *Breaker
	Full    atomic.Bool   // the store refuses writes for lack of memory
	Dropped atomic.Uint64 // values that could not be written
	// Observe receives the duration of each call.
	Observe func(op string, took time.Duration)
	// Filter returns the items that are to be written. Nil: all are.
	Filter func(context.Context, []store.Item) []store.Item

	clock  *freshness.Clock
	log    *slog.Logger
	writes chan store.Item // items that wait to be written
}

// NewClient returns a client of s; nil if s is nil.
func NewClient(s Store, clock *freshness.Clock, log *slog.Logger, budget time.Duration) *Client {
	if s == nil {
		return nil
	}
	return &Client{Store: s, clock: clock, log: log, Budget: budget, Breaker: newBreaker(),
		writes: make(chan store.Item, queueSize), Observe: func(string, time.Duration) {}}
}

// Do makes one call within a budget. An error is [ErrNotConfigured], [ErrBreakerOpen],
// [ErrStore] or ctx's.
func (s *Client) Do(ctx context.Context, op string, budget time.Duration, call func(context.Context) error) error {
	if s == nil {
		return ErrNotConfigured
	}
	start := s.clock.Monotonic()
	if !s.Breaker.allow(start) {
		return ErrBreakerOpen
	}
	limited, cancel := context.WithTimeout(ctx, budget)
	err := call(limited)
	cancel()
	end := s.clock.Monotonic()
	s.Observe(op, end-start)
	if err != nil && ctx.Err() != nil { // the caller has left
		s.Breaker.cancel()
		return ctx.Err()
	}
	full := isFull(err)
	if full != s.Full.Load() && (full || isWrite(op)) && s.Full.CompareAndSwap(!full, full) {
		if full {
			s.log.Warn("Redis is full and refuses writes: raise its maxmemory or set maxmemory-policy volatile-lru; checks go on")
		} else {
			s.log.Info("Redis takes writes again")
		}
	}
	if s.Breaker.record(end, err != nil && !full) {
		if err != nil {
			s.log.Warn("Redis does not answer and is not asked for now; checks go on from the process and the database", "op", op, "error", err)
		} else {
			s.log.Info("Redis answers again")
		}
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrStore, err)
	}
	return nil
}

// isFull reports whether an error is the answer of a store that is full.
func isFull(err error) bool {
	var answer interface {
		error
		RedisError()
	}
	return errors.As(err, &answer) && strings.HasPrefix(answer.Error(), "OOM ")
}

func isWrite(op string) bool { return op == OpSet || op == OpUsage }

// Operations: the values of the label op of store_duration_seconds.
const (
	OpGet        = "get"
	OpSet        = "set"
	OpInvalidate = "invalidate"
	OpPublish    = "publish"
	OpUsage      = "usage"
	OpCount      = "count"
	OpMemory     = "memory"
	opPing       = "ping"
)

// Get reads one value for a check.
func (s *Client) Get(ctx context.Context, key string) (value []byte, found bool, err error) {
	err = s.Do(ctx, OpGet, s.Budget, func(ctx context.Context) error {
		value, found, err = s.Store.Get(ctx, key)
		return err
	})
	return value, found, err
}

// WriteLater writes an item in the background. It never blocks: if too many items wait,
// the item is dropped.
func (s *Client) WriteLater(item store.Item) {
	select {
	case s.writes <- item:
	default:
		s.Dropped.Add(1)
	}
}

// Run writes the items that wait, until ctx ends. It also probes a store that failed or
// was full, to find out whether it is unreachable and when it has recovered.
func (s *Client) Run(ctx context.Context) {
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

// probe calls a store that failed or was full. Do records the outcome.
func (s *Client) probe(ctx context.Context) {
	switch {
	case s.Breaker.suspect():
		_ = s.Do(ctx, opPing, s.Budget, s.Store.Ping)
	case s.Full.Load():
		_ = s.Do(ctx, OpSet, s.Budget, func(ctx context.Context) error {
			return s.Store.Set(ctx, store.Item{Key: probeKey, TTL: time.Second})
		})
	}
}

func (s *Client) gather(item store.Item) []store.Item {
	items := []store.Item{item}
	for len(items) < BatchSize {
		select {
		case item := <-s.writes:
			items = append(items, item)
		default:
			return items
		}
	}
	return items
}

// write writes items. The breaker logs a failure. A value that the shared store lacks is
// a miss later, and costs only time.
func (s *Client) write(ctx context.Context, items []store.Item) {
	if s.Filter != nil {
		items = s.Filter(ctx, items)
	}
	if len(items) == 0 {
		return
	}
	err := s.Do(ctx, OpSet, BackgroundBudget, func(ctx context.Context) error { return s.Store.MSet(ctx, items...) })
	if err != nil {
		s.Dropped.Add(uint64(len(items)))
	}
}

// State returns the state for people: "none", "up", "full", "half_open" or "open".
func (s *Client) State() string {
	switch {
	case s == nil:
		return "none"
	case s.Breaker.State() != Closed:
		return string(s.Breaker.State())
	case s.Full.Load():
		return "full"
	default:
		return "up"
	}
}
