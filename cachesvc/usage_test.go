package cachesvc

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"extauthz/authz"
)

func (d *database) used(keyID string) authz.Usage {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.usage[keyID]
}

func TestFiftyConcurrentUsesAreFifty(t *testing.T) {
	db := newDatabase()
	s, err := New(Config{Database: db.connect()})
	if err != nil {
		t.Fatal(err)
	}
	var users sync.WaitGroup
	for i := range 50 {
		users.Go(func() {
			s.Used("a", time.Unix(int64(i), 0))
			if i%10 == 0 { // flushes meanwhile neither lose nor double
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
	if got := db.used("a"); got.Count != 50 || !got.LastUsedAt.Equal(time.Unix(49, 0)) {
		t.Errorf("stored %d uses, the last at %s; want 50, the last at 49 s", got.Count, got.LastUsedAt)
	}
	if n := s.usage.pending(); n != 0 {
		t.Errorf("%d uses pending after the flush", n)
	}
}

func TestUsage_IsWrittenAtTheThresholdEachSecondAndAtTheInterval(t *testing.T) {
	bubble(t, func(t *testing.T, db *database, c *connection) {
		s := start(t, Config{Database: c, FlushEvery: time.Minute})
		for range DefaultFlushAt {
			s.Used("busy", time.Now())
		}
		s.Used("idle", time.Now())
		time.Sleep(usageTick)
		synctest.Wait()
		if busy, idle := db.used("busy").Count, db.used("idle").Count; busy != DefaultFlushAt || idle != 0 {
			t.Errorf("after a second: busy %d, idle %d", busy, idle)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if idle := db.used("idle").Count; idle != 1 {
			t.Errorf("after the interval: idle %d", idle)
		}
	})
}

func TestAFailedFlushKeepsItsCounts(t *testing.T) {
	db := newDatabase()
	c := db.connect()
	s, err := New(Config{Database: c})
	if err != nil {
		t.Fatal(err)
	}
	var writes int
	c.sink = func() (error, error) { // the second transaction fails
		if writes++; writes == 2 {
			return errAway, nil
		}
		return nil, nil
	}
	const keys = usageWrite*usageBatch + 1
	for i := range keys {
		s.Used(fmt.Sprint("key-", i), time.Unix(5, 0))
	}
	if err := s.Flush(t.Context()); !errors.Is(err, errAway) {
		t.Fatalf("Flush: %v", err)
	}
	if n := s.usage.pending(); n != 1 {
		t.Errorf("%d uses are kept, want 1", n)
	}
	if err := s.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	for i := range keys {
		if got := db.used(fmt.Sprint("key-", i)); got.Count != 1 || !got.LastUsedAt.Equal(time.Unix(5, 0)) {
			t.Fatalf("key %d: %+v", i, got)
		}
	}
}

func TestAnAnswerThatIsLostCountsNothingTwice(t *testing.T) {
	db := newDatabase()
	c := db.connect()
	s, err := New(Config{Database: c})
	if err != nil {
		t.Fatal(err)
	}
	lost := 2
	c.sink = func() (error, error) {
		if lost--; lost >= 0 {
			return nil, errAway
		}
		return nil, nil
	}
	s.Used("a", time.Unix(5, 0))
	for range 3 {
		err = s.Flush(t.Context())
		s.Used("a", time.Unix(6, 0))
	}
	if err != nil || db.used("a").Count != 3 || s.usage.pending() != 1 {
		t.Errorf("stored %+v, %d pending, %v; want 3, and 1 that came after the last flush", db.used("a"), s.usage.pending(), err)
	}
}

func TestUsageIsBounded(t *testing.T) {
	s, err := New(Config{Database: newDatabase().connect(), MaxKeys: usageShards})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 1000 {
		s.Used(fmt.Sprint(i), time.Now())
	}
	pending, dropped := s.usage.pending(), s.usage.dropped.Load()
	if pending > usageShards || pending+int64(dropped) != 1000 {
		t.Errorf("%d pending, %d dropped", pending, dropped)
	}
}

func BenchmarkUsed(b *testing.B) {
	s, err := New(Config{Database: newDatabase().connect()})
	if err != nil {
		b.Fatal(err)
	}
	now := time.Now()
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			s.Used("019ab3c4-0000-7000-8000-000000000000", now)
		}
	})
}
