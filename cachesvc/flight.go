package cachesvc

import (
	"context"
	"errors"
	"sync"
	"time"

	"extauthz/cachesvc/internal/freshness"
)

// errLate is the error of a flight that took longer than its budget. If the process was
// frozen meanwhile, what the flight read may have changed long ago.
var errLate = errors.New("the database's answer came after the look-up's budget")

// flights allows one read of an id at a time, however many callers wait for it. It does
// not use x/sync/singleflight: here a flight has a budget of its own, each waiter waits
// under its own ctx, L1 is searched once more before a flight starts, and a flight can be
// made to store nothing ([flights.forget]).
type flights[V any] struct {
	budget time.Duration
	clock  *freshness.Clock

	mu      sync.Mutex
	ongoing map[string]*flight[V]
	running int
	idle    sync.Cond // uses mu; signals that running has become 0
}

func newFlights[V any](budget time.Duration, clock *freshness.Clock) *flights[V] {
	f := &flights[V]{budget: budget, clock: clock, ongoing: make(map[string]*flight[V])}
	f.idle.L = &f.mu
	return f
}

type flight[V any] struct {
	began time.Duration // when the flight began, monotonic
	done  chan struct{}
	value V
	err   error
}

// join returns the flight for id, and starts one if there is none. Before it starts one
// it calls known, while no flight can start or end. If known returns true, there is no
// flight and join returns nil. known finds the value of a flight that has just ended, so
// that a burst of look-ups costs one read. keep is called when the flight ends, unless
// the flight failed or was forgotten.
func (f *flights[V]) join(id string, known func() bool, read func(context.Context) (V, error), keep func(V)) *flight[V] {
	f.mu.Lock()
	defer f.mu.Unlock()
	if fl, ok := f.ongoing[id]; ok {
		return fl
	}
	if known() {
		return nil
	}
	fl := &flight[V]{began: f.clock.Monotonic(), done: make(chan struct{})}
	f.ongoing[id] = fl
	f.running++
	go f.fly(id, fl, read, keep)
	return fl
}

// fly runs a flight under a context of its own. So the flight goes on for the other
// waiters when the caller that started it leaves.
func (f *flights[V]) fly(id string, fl *flight[V], read func(context.Context) (V, error), keep func(V)) {
	defer close(fl.done)
	ctx, cancel := context.WithTimeout(context.Background(), f.budget)
	defer cancel()
	fl.value, fl.err = read(ctx)
	if fl.err == nil && f.clock.Monotonic()-fl.began > f.budget {
		fl.err = errLate
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.running--; f.running == 0 {
		f.idle.Broadcast()
	}
	if f.ongoing[id] != fl {
		return
	}
	if fl.err == nil {
		keep(fl.value)
	}
	delete(f.ongoing, id)
}

// wait returns the flight's outcome, or ctx's error if ctx ends first.
func (fl *flight[V]) wait(ctx context.Context) (V, error) {
	select {
	case <-fl.done:
		return fl.value, fl.err
	case <-ctx.Done():
		var none V
		return none, ctx.Err()
	}
}

// forget makes the present flights store nothing in L1; later callers start new ones.
func (f *flights[V]) forget() {
	f.mu.Lock()
	defer f.mu.Unlock()
	clear(f.ongoing)
}

// drain waits until all flights have ended. That takes no longer than the budget if no
// more are started.
func (f *flights[V]) drain() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for f.running > 0 {
		f.idle.Wait()
	}
}
