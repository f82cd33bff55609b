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
	Mu         sync.Mutex
	heard      map[int]func([]byte)
	next       int
	MemoryInfo store.Memory // what INFO memory reports
}

// NewRedis makes one; now tells by which clock its entries end.
func NewRedis(t testing.TB, now func() time.Time) *Redis {
	t.Helper()
	s, err := memory.New(memory.Config{MaxEntries: 100_000, Now: now})
	if err != nil {
		t.Fatal(err)
	}
	return &Redis{Store: s, heard: map[int]func([]byte){}, MemoryInfo: store.Memory{Policy: "volatile-lru"}}
}

// Wire is one replica's way to it. What it does to each call can be set.
type Wire struct {
	*Redis
	mu        sync.Mutex
	Condition func() (time.Duration, error)
	calls     int
}

func (r *Redis) Connect() *Wire {
	return &Wire{Redis: r, Condition: func() (time.Duration, error) { return 0, nil }}
}

func (w *Wire) SetCondition(weather func() (time.Duration, error)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.Condition = weather
}

func (w *Wire) CallCount() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.calls
}

func (w *Wire) pass(ctx context.Context) error {
	w.mu.Lock()
	w.calls++
	wait, err := w.Condition()
	w.mu.Unlock()
	if pauseErr := Pause(ctx, wait); pauseErr != nil {
		return pauseErr
	}
	return err
}

func (w *Wire) Get(ctx context.Context, key string) ([]byte, bool, error) {
	if err := w.pass(ctx); err != nil {
		return nil, false, err
	}
	return w.Store.Get(ctx, key)
}

func (w *Wire) MGet(ctx context.Context, keys ...string) ([][]byte, error) {
	if err := w.pass(ctx); err != nil {
		return nil, err
	}
	return w.Store.MGet(ctx, keys...)
}

func (w *Wire) Set(ctx context.Context, item store.Item) error { return w.MSet(ctx, item) }

func (w *Wire) MSet(ctx context.Context, items ...store.Item) error {
	if err := w.pass(ctx); err != nil {
		return err
	}
	return w.Store.MSet(ctx, items...)
}

func (w *Wire) Delete(ctx context.Context, keys ...string) (int, error) {
	if err := w.pass(ctx); err != nil {
		return 0, err
	}
	return w.Store.Delete(ctx, keys...)
}

func (w *Wire) InvalidateTags(ctx context.Context, tags ...string) (int, error) {
	if err := w.pass(ctx); err != nil {
		return 0, err
	}
	return w.Store.InvalidateTags(ctx, tags...)
}

func (w *Wire) Tagged(ctx context.Context, tag string, limit int) ([]string, error) {
	if err := w.pass(ctx); err != nil {
		return nil, err
	}
	return w.Store.Tagged(ctx, tag, limit)
}

func (w *Wire) Untag(ctx context.Context, tag string, keys ...string) error {
	if err := w.pass(ctx); err != nil {
		return err
	}
	return w.Store.Untag(ctx, tag, keys...)
}

func (w *Wire) Count(ctx context.Context, namespace string) (int, error) {
	if err := w.pass(ctx); err != nil {
		return 0, err
	}
	return w.Store.Count(ctx, namespace)
}

func (w *Wire) Ping(ctx context.Context) error { return w.pass(ctx) }

func (w *Wire) Memory(ctx context.Context) (store.Memory, error) {
	if err := w.pass(ctx); err != nil {
		return store.Memory{}, err
	}
	w.Redis.Mu.Lock()
	defer w.Redis.Mu.Unlock()
	return w.Memory, nil
}

func (w *Wire) Publish(ctx context.Context, _ string, payload []byte) error {
	if err := w.pass(ctx); err != nil {
		return err
	}
	w.Redis.Mu.Lock()
	defer w.Redis.Mu.Unlock()
	for _, heard := range w.heard {
		heard(payload)
	}
	return nil
}

func (w *Wire) Subscribe(ctx context.Context, _ string, connected func(), heard func([]byte)) error {
	w.Redis.Mu.Lock()
	id := w.next
	w.next++
	w.heard[id] = heard
	w.Redis.Mu.Unlock()
	connected()
	<-ctx.Done()
	w.Redis.Mu.Lock()
	defer w.Redis.Mu.Unlock()
	delete(w.heard, id)
	return nil
}
