package cachetest

import (
	"context"
	"sync"
	"testing"
	"time"

	"extauthz/cachesvc/store"
	"extauthz/cachesvc/store/memory"
)

// Redis is a shared store in memory.
type Redis struct {
	*memory.Store
	Mu          sync.Mutex
	subscribers map[int]func([]byte)
	next        int
	MemoryInfo  store.Memory // what INFO memory reports
}

// NewRedis returns an empty store whose entries expire by the clock now.
func NewRedis(t testing.TB, now func() time.Time) *Redis {
	t.Helper()
	s, err := memory.New(memory.Config{MaxEntries: 100_000, Now: now})
	if err != nil {
		t.Fatal(err)
	}
	return &Redis{Store: s, subscribers: map[int]func([]byte){}, MemoryInfo: store.Memory{Policy: "volatile-lru"}}
}

// Wire is one replica's connection to a [Redis]. Its effect on each call can be set.
type Wire struct {
	*Redis
	conditionMu sync.Mutex // guards the fields below; Mu guards the store
	Condition   func() (time.Duration, error)
	calls       int
}

// Connect returns another connection, on which every call succeeds at once.
func (r *Redis) Connect() *Wire {
	return &Wire{Redis: r, Condition: func() (time.Duration, error) { return 0, nil }}
}

// SetCondition sets how long calls take, and whether they fail.
func (w *Wire) SetCondition(condition func() (time.Duration, error)) {
	w.conditionMu.Lock()
	defer w.conditionMu.Unlock()
	w.Condition = condition
}

// CallCount returns the number of calls so far.
func (w *Wire) CallCount() int {
	w.conditionMu.Lock()
	defer w.conditionMu.Unlock()
	return w.calls
}

func (w *Wire) pass(ctx context.Context) error {
	w.conditionMu.Lock()
	w.calls++
	wait, err := w.Condition()
	w.conditionMu.Unlock()
	if pauseErr := Pause(ctx, wait); pauseErr != nil {
		return pauseErr
	}
	return err
}

// Get implements the shared store.
func (w *Wire) Get(ctx context.Context, key string) ([]byte, bool, error) {
	if err := w.pass(ctx); err != nil {
		return nil, false, err
	}
	return w.Store.Get(ctx, key)
}

// MGet implements the shared store.
func (w *Wire) MGet(ctx context.Context, keys ...string) ([][]byte, error) {
	if err := w.pass(ctx); err != nil {
		return nil, err
	}
	return w.Store.MGet(ctx, keys...)
}

// Set implements the shared store.
func (w *Wire) Set(ctx context.Context, item store.Item) error { return w.MSet(ctx, item) }

// MSet implements the shared store.
func (w *Wire) MSet(ctx context.Context, items ...store.Item) error {
	if err := w.pass(ctx); err != nil {
		return err
	}
	return w.Store.MSet(ctx, items...)
}

// Delete implements the shared store.
func (w *Wire) Delete(ctx context.Context, keys ...string) (int, error) {
	if err := w.pass(ctx); err != nil {
		return 0, err
	}
	return w.Store.Delete(ctx, keys...)
}

// InvalidateTags implements the shared store.
func (w *Wire) InvalidateTags(ctx context.Context, tags ...string) (int, error) {
	if err := w.pass(ctx); err != nil {
		return 0, err
	}
	return w.Store.InvalidateTags(ctx, tags...)
}

// Tagged implements the shared store.
func (w *Wire) Tagged(ctx context.Context, tag string, limit int) ([]string, error) {
	if err := w.pass(ctx); err != nil {
		return nil, err
	}
	return w.Store.Tagged(ctx, tag, limit)
}

// Untag implements the shared store.
func (w *Wire) Untag(ctx context.Context, tag string, keys ...string) error {
	if err := w.pass(ctx); err != nil {
		return err
	}
	return w.Store.Untag(ctx, tag, keys...)
}

// Count implements the shared store.
func (w *Wire) Count(ctx context.Context, namespace string) (int, error) {
	if err := w.pass(ctx); err != nil {
		return 0, err
	}
	return w.Store.Count(ctx, namespace)
}

// Ping implements the shared store.
func (w *Wire) Ping(ctx context.Context) error { return w.pass(ctx) }

// Memory implements the shared store.
func (w *Wire) Memory(ctx context.Context) (store.Memory, error) {
	if err := w.pass(ctx); err != nil {
		return store.Memory{}, err
	}
	w.Mu.Lock()
	defer w.Mu.Unlock()
	return w.MemoryInfo, nil
}

// Publish implements the shared store.
func (w *Wire) Publish(ctx context.Context, _ string, payload []byte) error {
	if err := w.pass(ctx); err != nil {
		return err
	}
	w.Mu.Lock()
	defer w.Mu.Unlock()
	for _, receive := range w.subscribers {
		receive(payload)
	}
	return nil
}

// Subscribe implements the shared store.
func (w *Wire) Subscribe(ctx context.Context, _ string, connected func(), receive func([]byte)) error {
	w.Mu.Lock()
	id := w.next
	w.next++
	w.subscribers[id] = receive
	w.Mu.Unlock()
	connected()
	<-ctx.Done()
	w.Mu.Lock()
	defer w.Mu.Unlock()
	delete(w.subscribers, id)
	return nil
}
