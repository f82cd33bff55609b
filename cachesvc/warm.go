package cachesvc

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"extauthz/authz"
	"extauthz/cachesvc/internal/freshness"
	"extauthz/cachesvc/internal/l1"
	"extauthz/cachesvc/internal/remote"
	"extauthz/cachesvc/store"
)

// WarmConfig selects the keys that are read before a check needs them. With the zero
// value nothing is warmed unless [Service.Warm] is called.
type WarmConfig struct {
	Keys  int           // how many of the most used keys to read, at the start and on schedule; 0: none
	Every time.Duration // time between two warmings; 0: at the start only
	// PerSecond bounds how many keys are read in a second; 0 is DefaultWarmRate.
	PerSecond int
}

// DefaultWarmRate is in keys a second. It leaves a database most of its capacity.
const DefaultWarmRate = 50_000

func (c WarmConfig) withDefaults() WarmConfig {
	setDefault(&c.PerSecond, DefaultWarmRate)
	return c
}

// Warmed is the result of a warming.
type Warmed struct {
	Keys   int           // keys read and kept in the process
	Shared int           // keys also written to the shared store
	Took   time.Duration // duration of the whole warming
}

// ErrNotWarmable is returned by a cache without a [Config.MostUsed].
var ErrNotWarmable = errors.New("this cache can't be warmed")

type warmer struct {
	WarmConfig
	source MostUsed
	only   sync.Mutex // one warming at a time
	once   chan struct{}
	first  sync.Once
	wanted chan struct{} // receives a value when everything was dropped
}

func newWarmer(c Config) *warmer {
	return &warmer{WarmConfig: c.Warm, source: c.MostUsed, once: make(chan struct{}), wanted: make(chan struct{}, 1)}
}

// request schedules a warming, after all cached values were dropped.
func (w *warmer) request() {
	select {
	case w.wanted <- struct{}{}:
	default: // a warming is due already
	}
}

// Warmed is closed when the warming at the start has ended, successfully or not, or at
// once if none is configured.
func (s *Service) Warmed() <-chan struct{} { return s.warm.once }

// keepWarm warms the cache when the feed is loaded, on schedule, and whenever everything
// was dropped, until ctx ends.
func (s *Service) keepWarm(ctx context.Context) {
	done := func() { s.warm.first.Do(func() { close(s.warm.once) }) }
	defer done()
	if s.warm.source == nil || s.warm.Keys <= 0 {
		return
	}
	select {
	case <-ctx.Done():
		return
	case <-s.ready:
	}
	for {
		if w, err := s.Warm(ctx, s.warm.Keys); err != nil && ctx.Err() == nil {
			s.log.Warn("the cache could not be warmed", "error", err)
		} else if err == nil {
			s.log.Info("cache warmed", "keys", w.Keys, "in_redis", w.Shared, "took", w.Took.Round(time.Millisecond).String())
		}
		done()
		var scheduled <-chan time.Time
		if s.warm.Every > 0 {
			scheduled = time.After(s.warm.Every)
		}
		select {
		case <-ctx.Done():
			return
		case <-scheduled:
		case <-s.warm.wanted:
		}
	}
}

// Warm reads up to limit of the most used keys, no faster than configured. It keeps those
// that L1 does not hold yet, in L1 and in the shared store. If another warming is
// running, it waits for its end.
func (s *Service) Warm(ctx context.Context, limit int) (Warmed, error) {
	if s.warm.source == nil {
		return Warmed{}, ErrNotWarmable
	}
	s.warm.only.Lock()
	defer s.warm.only.Unlock()
	w := warming{service: s, start: s.trust.clock.Monotonic()}
	w.seq, w.generation = s.trust.window.Begin()
	err := s.warm.source.MostUsed(ctx, min(limit, s.maxKeys), func(r authz.Record, v authz.Verifier) error { return w.add(ctx, r, v) })
	w.flush(ctx)
	w.done.Took = s.trust.clock.Monotonic() - w.start
	if err != nil {
		return w.done, fmt.Errorf("warming: %w", err)
	}
	return w.done, nil
}

// warming is one call of Warm.
type warming struct {
	service         *Service
	start           time.Duration // before the database was read
	seq, generation uint64
	read            int
	items           []store.Item            // to be written to the shared store together
	seen            l1.Value[l1.Credential] // buffer for looking up whether L1 holds a key
	done            Warmed
}

func (w *warming) add(ctx context.Context, r authz.Record, verifier authz.Verifier) error {
	s := w.service
	if w.read++; w.read%remote.BatchSize == 0 {
		if err := w.pace(ctx); err != nil {
			return err
		}
	}
	if _, valid := s.keys.lookup(r.Prefix, s.trust.clock.Monotonic(), &w.seen); valid {
		return nil
	}
	v := &l1.Value[l1.Credential]{Data: l1.Credential{Record: r, Verifier: verifier}}
	v.Found, v.Version, v.AsOf = true, r.Version, w.start
	v.Seq, v.Generation, v.OutsideLease = w.seq, w.generation, !s.trust.lease.Fresh(w.start)
	s.keys.setLifetime(v)
	if !s.trust.window.Fresh(freshness.Topic{Subject: freshness.SubjectKey, ID: r.Prefix}, &v.Stamp) {
		return nil
	}
	s.keys.present.Put(r.Prefix, v)
	w.done.Keys++
	if s.shared == nil {
		return nil
	}
	if item, ok := s.sharedItem(v); ok {
		if w.items = append(w.items, item); len(w.items) >= remote.BatchSize {
			w.flush(ctx)
		}
	}
	return nil
}

// pace waits as long as the configured rate requires.
func (w *warming) pace(ctx context.Context) error {
	due := w.start + time.Duration(w.read)*time.Second/time.Duration(w.service.warm.PerSecond)
	wait := due - w.service.trust.clock.Monotonic()
	if wait <= 0 {
		return ctx.Err()
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(wait):
		return nil
	}
}

// flush writes the collected items to the shared store in one pipeline. The breaker logs
// a failure.
func (w *warming) flush(ctx context.Context) {
	if len(w.items) == 0 {
		return
	}
	shared := w.service.shared
	err := shared.Do(ctx, remote.OpSet, remote.BackgroundBudget, func(ctx context.Context) error { return shared.Store.MSet(ctx, w.items...) })
	if err == nil {
		w.done.Shared += len(w.items)
	}
	w.items = w.items[:0]
}
