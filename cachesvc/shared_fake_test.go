package cachesvc

import (
	"context"
	"sync"
	"testing"
	"time"

	"extauthz/cachesvc/store"
	"extauthz/cachesvc/store/memory"
)

// redis is a shared store in memory.
type redis struct {
	*memory.Store
	mu     sync.Mutex
	heard  map[int]func([]byte)
	next   int
	memory store.Memory
}

// newRedis makes one; now tells by which clock its entries end.
func newRedis(t testing.TB, now func() time.Time) *redis {
	t.Helper()
	s, err := memory.New(memory.Config{MaxEntries: 100_000, Now: now})
	if err != nil {
		t.Fatal(err)
	}
	return &redis{Store: s, heard: map[int]func([]byte){}, memory: store.Memory{Policy: "volatile-lru"}}
}

// wire is one replica's way to it. What it does to each call can be set.
type wire struct {
	*redis
	mu      sync.Mutex
	weather func() (time.Duration, error)
	calls   int
}

func (r *redis) connect() *wire {
	return &wire{redis: r, weather: func() (time.Duration, error) { return 0, nil }}
}

func (w *wire) set(weather func() (time.Duration, error)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.weather = weather
}

func (w *wire) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.calls
}

func (w *wire) pass(ctx context.Context) error {
	w.mu.Lock()
	w.calls++
	wait, err := w.weather()
	w.mu.Unlock()
	if pauseErr := pause(ctx, wait); pauseErr != nil {
		return pauseErr
	}
	return err
}

func (w *wire) Get(ctx context.Context, key string) ([]byte, bool, error) {
	if err := w.pass(ctx); err != nil {
		return nil, false, err
	}
	return w.Store.Get(ctx, key)
}

func (w *wire) MGet(ctx context.Context, keys ...string) ([][]byte, error) {
	if err := w.pass(ctx); err != nil {
		return nil, err
	}
	return w.Store.MGet(ctx, keys...)
}

func (w *wire) Set(ctx context.Context, item store.Item) error { return w.MSet(ctx, item) }

func (w *wire) MSet(ctx context.Context, items ...store.Item) error {
	if err := w.pass(ctx); err != nil {
		return err
	}
	return w.Store.MSet(ctx, items...)
}

func (w *wire) Delete(ctx context.Context, keys ...string) (int, error) {
	if err := w.pass(ctx); err != nil {
		return 0, err
	}
	return w.Store.Delete(ctx, keys...)
}

func (w *wire) InvalidateTags(ctx context.Context, tags ...string) (int, error) {
	if err := w.pass(ctx); err != nil {
		return 0, err
	}
	return w.Store.InvalidateTags(ctx, tags...)
}

func (w *wire) Tagged(ctx context.Context, tag string, limit int) ([]string, error) {
	if err := w.pass(ctx); err != nil {
		return nil, err
	}
	return w.Store.Tagged(ctx, tag, limit)
}

func (w *wire) Untag(ctx context.Context, tag string, keys ...string) error {
	if err := w.pass(ctx); err != nil {
		return err
	}
	return w.Store.Untag(ctx, tag, keys...)
}

func (w *wire) Count(ctx context.Context, namespace string) (int, error) {
	if err := w.pass(ctx); err != nil {
		return 0, err
	}
	return w.Store.Count(ctx, namespace)
}

func (w *wire) Ping(ctx context.Context) error { return w.pass(ctx) }

func (w *wire) Memory(ctx context.Context) (store.Memory, error) {
	if err := w.pass(ctx); err != nil {
		return store.Memory{}, err
	}
	w.redis.mu.Lock()
	defer w.redis.mu.Unlock()
	return w.memory, nil
}

func (w *wire) Publish(ctx context.Context, _ string, payload []byte) error {
	if err := w.pass(ctx); err != nil {
		return err
	}
	w.redis.mu.Lock()
	defer w.redis.mu.Unlock()
	for _, heard := range w.heard {
		heard(payload)
	}
	return nil
}

func (w *wire) Subscribe(ctx context.Context, _ string, connected func(), heard func([]byte)) error {
	w.redis.mu.Lock()
	id := w.next
	w.next++
	w.heard[id] = heard
	w.redis.mu.Unlock()
	connected()
	<-ctx.Done()
	w.redis.mu.Lock()
	defer w.redis.mu.Unlock()
	delete(w.heard, id)
	return nil
}
