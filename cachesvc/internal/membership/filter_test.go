package membership

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"extauthz/cachesvc/internal/cachetest"
	"extauthz/cachesvc/internal/freshness"
)

func TestFilter_AFullOneIsReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := cachetest.NewDatabase()
		m := New(Config{Source: db.Connect(), Lease: freshness.NewLease(time.Second, time.Second),
			Clock: freshness.NewClock(time.Now), Logger: slog.New(slog.DiscardHandler)})
		ctx, stop := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { m.Run(ctx) })
		defer running.Wait()
		defer stop()
		m.StartHistory()
		synctest.Wait()
		before := m.filter.Load().capacity
		for i := range before + before/50 { // the filter takes some for known ones, and does not count them
			prefix := fmt.Sprint("k", i)
			db.Commit(prefix, cachetest.Unchanged)
			m.Learn(prefix)
		}
		synctest.Wait()
		if f := m.filter.Load(); f.capacity <= before || f.full() || !f.has(m.hash("k0")) {
			t.Errorf("capacity %d, was %d", f.capacity, before)
		}
	})
}

func TestBloomFilter_HasNoFalseNegativesAndFewFalsePositives(t *testing.T) {
	const n = 100_000
	f := newBloomFilter(n)
	r := rand.New(rand.NewPCG(1, 2))
	in, wrong := make([]uint64, n), 0
	for i := range in {
		in[i] = r.Uint64()
		f.add(in[i])
	}
	for _, h := range in {
		if !f.has(h) {
			t.Fatal("a member is not found")
		}
	}
	for range n {
		if f.has(r.Uint64()) {
			wrong++
		}
	}
	if wrong > n/500 {
		t.Errorf("%d of %d strangers are taken for members", wrong, n)
	}
}
