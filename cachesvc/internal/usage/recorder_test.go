package usage

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"

	"extauthz/cachesvc/internal/cachetest"
	"extauthz/cachesvc/internal/freshness"
	"extauthz/cachesvc/internal/remote"
)

const (
	testFlushEvery   = 2 * time.Second
	testCollectEvery = time.Minute
	testFlushAt      = 10
)

// newRecorder makes the recorder of another process, and does not run it. shared may be
// nil.
func newRecorder(t testing.TB, sink Sink, shared remote.Store, edits ...func(*Config)) *Recorder {
	t.Helper()
	c := Config{Sink: sink, Source: rand.Text(), FlushEvery: testFlushEvery, CollectEvery: testCollectEvery, Threshold: testFlushAt,
		MaxKeys: 1_000_000, SpoolBytes: 32 << 20, Now: time.Now, Logger: slog.New(slog.DiscardHandler)}
	if shared != nil {
		c.Remote = remote.NewClient(shared, freshness.NewClock(time.Now), c.Logger, 50*time.Millisecond)
	}
	for _, edit := range edits {
		edit(&c)
	}
	return New(c)
}

// runRecorder runs a recorder and its client of the shared store until the test ends.
func runRecorder(t testing.TB, u *Recorder) *Recorder {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { u.Run(ctx) })
	if u.journal.remote != nil {
		running.Go(func() { u.journal.remote.Run(ctx) })
	}
	t.Cleanup(func() {
		stop()
		running.Wait()
	})
	return u
}

func spoolIn(dir string) func(*Config) { return func(c *Config) { c.SpoolDir = dir } }

func TestRecorder_FiftyConcurrentUsesAreFifty(t *testing.T) {
	db := cachetest.NewDatabase()
	s := newRecorder(t, db.Connect(), nil)
	var users sync.WaitGroup
	for i := range 50 {
		users.Go(func() {
			s.Used("a", time.Unix(int64(i), 0))
			if i%10 == 0 { // flushes meanwhile neither lose uses nor count them twice
				if err := s.Flush(t.Context()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	users.Wait()
	if err := s.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := db.UsageOf("a"); got.Count != 50 || !got.LastUsedAt.Equal(time.Unix(49, 0)) {
		t.Errorf("stored %d uses, the last at %s; want 50, the last at 49 s", got.Count, got.LastUsedAt)
	}
	if n := s.Pending(); n != 0 {
		t.Errorf("%d uses pending after the flush", n)
	}
}

// A call of Flush that wrote all it found has succeeded, though batches that were made
// meanwhile wait.
func TestRecorder_AFlushAnswersForWhatWasCountedBeforeIt(t *testing.T) {
	db, wire := cachetest.NewDatabase(), cachetest.NewRedis(t, nil).Connect()
	s := newRecorder(t, db.Connect(), wire)
	wire.SetCondition(func() (time.Duration, error) { // Redis is read after the last batch is in the database
		if s.queue.exposedUses() == 0 {
			s.Used("later", time.Unix(2, 0))
			s.queue.add(s.take(1), time.Unix(2, 0))
		}
		return 0, nil
	})
	s.Used("earlier", time.Unix(1, 0))
	if err := s.Flush(t.Context()); err != nil {
		t.Error(err)
	}
	if earlier, pending := db.UsageOf("earlier").Count, s.Pending(); earlier != 1 || pending != 1 {
		t.Errorf("stored %d uses, %d pending; want 1 and 1", earlier, pending)
	}
}

func TestRecorder_WritesAtTheThresholdEachSecondAndAtTheInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := cachetest.NewDatabase()
		s := runRecorder(t, newRecorder(t, db.Connect(), nil, func(c *Config) { c.FlushEvery = time.Minute }))
		for range testFlushAt {
			s.Used("busy", time.Now())
		}
		s.Used("idle", time.Now())
		time.Sleep(tickInterval)
		synctest.Wait()
		if busy, idle := db.UsageOf("busy").Count, db.UsageOf("idle").Count; busy != testFlushAt || idle != 0 {
			t.Errorf("after a second: busy %d, idle %d", busy, idle)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if idle := db.UsageOf("idle").Count; idle != 1 {
			t.Errorf("after the interval: idle %d", idle)
		}
	})
}

func TestRecorder_AFailedFlushKeepsItsCounts(t *testing.T) {
	db := cachetest.NewDatabase()
	c := db.Connect()
	s := newRecorder(t, c, nil)
	var writes int
	c.Sink = func() (error, error) { // the second transaction fails
		if writes++; writes == 2 {
			return cachetest.ErrAway, nil
		}
		return nil, nil
	}
	const keys = writeBatches*batchKeys + 1
	for i := range keys {
		s.Used(fmt.Sprint("key-", i), time.Unix(5, 0))
	}
	if err := s.Flush(t.Context()); !errors.Is(err, cachetest.ErrAway) {
		t.Fatalf("Flush: %v", err)
	}
	if n := s.Pending(); n != 1 {
		t.Errorf("%d uses are kept, want 1", n)
	}
	if err := s.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	for i := range keys {
		if got := db.UsageOf(fmt.Sprint("key-", i)); got.Count != 1 || !got.LastUsedAt.Equal(time.Unix(5, 0)) {
			t.Fatalf("key %d: %+v", i, got)
		}
	}
}

func TestRecorder_ALostAnswerCountsNothingTwice(t *testing.T) {
	db := cachetest.NewDatabase()
	c := db.Connect()
	s := newRecorder(t, c, nil)
	lost := 2
	c.Sink = func() (error, error) {
		if lost--; lost >= 0 {
			return nil, cachetest.ErrAway
		}
		return nil, nil
	}
	s.Used("a", time.Unix(5, 0))
	var err error
	for range 3 {
		err = s.Flush(t.Context())
		s.Used("a", time.Unix(6, 0))
	}
	if err != nil || db.UsageOf("a").Count != 3 || s.Pending() != 1 {
		t.Errorf("stored %+v, %d pending, %v; want 3, and 1 that came after the last flush", db.UsageOf("a"), s.Pending(), err)
	}
}

func TestRecorder_IsBounded(t *testing.T) {
	s := newRecorder(t, cachetest.NewDatabase().Connect(), nil, func(c *Config) { c.MaxKeys = counterShards })
	for i := range 1000 {
		s.Used(fmt.Sprint(i), time.Now())
	}
	pending, dropped := s.Pending(), s.Dropped.Load()
	if pending > counterShards || pending+int64(dropped) != 1000 {
		t.Errorf("%d pending, %d dropped", pending, dropped)
	}
}

func TestRecorder_DoesNotKeepRecords(t *testing.T) {
	s := newRecorder(t, cachetest.NewDatabase().Connect(), nil)
	id := "01890a5d-ac96-774b-bcce-b302099a8057"
	s.Used(id, time.Now())
	for i := range s.shards {
		for kept := range s.shards[i].counters {
			if unsafe.StringData(kept) == unsafe.StringData(id) {
				t.Error("the record's own text is kept, and with it the record")
			}
		}
	}
}

func BenchmarkUsed(b *testing.B) {
	s := newRecorder(b, cachetest.NewDatabase().Connect(), nil)
	now := time.Now()
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			s.Used("019ab3c4-0000-7000-8000-000000000000", now)
		}
	})
}
