package cachesvc

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"extauthz/authz"
	"extauthz/cachesvc/internal/cachetest"
	"extauthz/cachesvc/internal/membership"
)

// guarded starts a service that knows the prefixes of all keys.
func guarded(t *testing.T, c *cachetest.Connection) *Service {
	t.Helper()
	s := start(t, Config{Database: c, Members: c})
	synctest.Wait()
	return s
}

// flood looks up n prefixes at once that no key has, and returns how many look-ups were
// throttled. All others must return that the key is unknown.
func flood(t *testing.T, s *Service, n int) (throttled int) {
	t.Helper()
	var mu sync.Mutex
	var checks sync.WaitGroup
	for i := range n {
		checks.Go(func() {
			e, err := s.Lookup(t.Context(), fmt.Sprintf("forged-%d-%d", i, rand.Uint64()), nil)
			if errors.Is(err, authz.ErrThrottled) {
				mu.Lock()
				defer mu.Unlock()
				throttled++
			} else if err != nil || e.Record != nil {
				t.Errorf("got %+v, %v", e, err)
			}
		})
	}
	checks.Wait()
	return throttled
}

func TestMembership_AFloodOfForgedKeysCostsABoundedNumberOfLookups(t *testing.T) {
	bubble(t, func(t *testing.T, db *cachetest.Database, c *cachetest.Connection) {
		s := guarded(t, c)
		began, throttled := time.Now(), flood(t, s, 20_000)
		took := time.Since(began)
		if most := membership.UnknownBurst + int(membership.UnknownPerSecond*took.Seconds()) + 1; db.KeyReads > most {
			t.Errorf("%d look-ups for 20,000 forged keys in %v", db.KeyReads, took)
		}
		if throttled == 0 || took > membership.InquiryPause+membership.InquiryWait {
			t.Errorf("%d were throttled, after %v: too many waited", throttled, took)
		}
		if s.Status().Members != 1 {
			t.Errorf("%d members", s.Status().Members)
		}
		wantEntry(t, s, "k", true, authz.LayerDatabase) // a cold real key is looked up nevertheless
		wantEntry(t, s, "k", true, authz.LayerLocal)
	})
}

// TestMembership_ANewKeyIsNeverUnknown: another replica creates a key at any moment of a
// flood. The flood uses up the budget of look-ups and, if it is heavy, all places for
// waiting checks. The feed is healthy, slow, or can't be read. The key's first check may
// be throttled, but must find the key if the feed is healthy and the flood is not heavy.
func TestMembership_ANewKeyIsNeverUnknown(t *testing.T) {
	for _, feed := range []struct {
		name string
		does func() (time.Duration, time.Duration, error)
		well bool
	}{
		{"well", func() (time.Duration, time.Duration, error) { return 0, time.Millisecond, nil }, true},
		{"answers late", func() (time.Duration, time.Duration, error) { return 0, 60 * time.Millisecond, nil }, true},
		{"slow", func() (time.Duration, time.Duration, error) { return 0, 700 * time.Millisecond, nil }, false},
		{"away", func() (time.Duration, time.Duration, error) { return 0, 0, cachetest.ErrAway }, false},
	} {
		for _, heavy := range []bool{false, true} {
			t.Run(fmt.Sprintf("feed %s, heavy %v", feed.name, heavy), func(t *testing.T) {
				bubble(t, func(t *testing.T, db *cachetest.Database, c *cachetest.Connection) {
					s := guarded(t, c)
					c.Edit(func(c *cachetest.Connection) { c.Feed = feed.does })
					sizes := []int{membership.UnknownBurst + 50, 60, 60}
					if heavy {
						sizes = []int{800, 800, 800}
					}
					r := rand.New(rand.NewPCG(1, 2))
					found := 0
					const keys = 25
					for i := range keys {
						var storm sync.WaitGroup
						for _, size := range sizes {
							storm.Go(func() { flood(t, s, size) })
							time.Sleep(time.Duration(r.IntN(30)) * time.Millisecond)
						}
						name := fmt.Sprint("new-", i)
						db.Commit(name, cachetest.Unchanged)
						e, err := s.Lookup(t.Context(), name, nil)
						switch {
						case err == nil && cachetest.IsLive(e.Record):
							found++
						case !errors.Is(err, authz.ErrThrottled):
							t.Fatalf("the first check of %s: %+v, %v", name, e, err)
						}
						storm.Wait()
						time.Sleep(time.Second) // until the whole budget is available again
					}
					if feed.well && !heavy && found != keys {
						t.Errorf("%d of %d were found at once", found, keys)
					}
				})
			})
		}
	}
}

func TestMembership_AnOwnNewKeyIsFoundAtOnceInAFlood(t *testing.T) {
	bubble(t, func(t *testing.T, db *cachetest.Database, c *cachetest.Connection) {
		s := guarded(t, c)
		flood(t, s, 1000)
		s.Changed(t.Context(), db.Commit("own", cachetest.Unchanged))
		wantEntry(t, s, "own", true, authz.LayerDatabase)
	})
}

func TestMembership_WithoutTheLeaseAFloodIsThrottled(t *testing.T) {
	bubble(t, func(t *testing.T, db *cachetest.Database, c *cachetest.Connection) {
		s := guarded(t, c)
		flood(t, s, 1000)
		c.Edit(func(c *cachetest.Connection) {
			c.Feed = func() (time.Duration, time.Duration, error) { return 0, 0, cachetest.ErrAway }
		})
		time.Sleep(2 * DefaultLease)
		db.Commit("new", cachetest.Unchanged)
		wantEntry(t, s, "new", true, authz.LayerDatabase)
		before, throttled := db.KeyReads, 0
		for i := range 20_000 {
			e, err := s.Lookup(t.Context(), fmt.Sprint("forged-", i), nil)
			if errors.Is(err, authz.ErrThrottled) {
				throttled++
			} else if err != nil || e.Record != nil || e.Layer != authz.LayerDatabase {
				t.Fatalf("got %+v, %v: that can't be known without asking", e, err)
			}
		}
		if reads := db.KeyReads - before; reads > membership.UnknownBurst || throttled+reads != 20_000 {
			t.Errorf("%d look-ups, %d throttled of 20,000 forged keys", reads, throttled)
		}
		wantEntry(t, s, "k", true, authz.LayerDatabase) // a cold real key
	})
}

func TestMembership_ARestoredDatabaseIsLoadedAgain(t *testing.T) {
	bubble(t, func(t *testing.T, db *cachetest.Database, c *cachetest.Connection) {
		db.Commit("old", cachetest.Unchanged)
		db.Log = nil // it was created long ago: no window of the feed has it
		restore := db.Backup()
		db.Commit("old", nil)
		db.Log = nil
		s := guarded(t, c)
		listing := 10 * time.Second // the list takes this long after the state was read
		c.Edit(func(c *cachetest.Connection) {
			c.List = func() (time.Duration, time.Duration, error) { return 0, listing, nil }
		})
		restore("two")
		time.Sleep(2 * DefaultPoll)
		synctest.Wait()
		flood(t, s, 1000)
		wantEntry(t, s, "old", true, authz.LayerDatabase) // before the list contains it
		time.Sleep(listing)
		synctest.Wait()
		if n := s.Status().Members; n != 2 {
			t.Errorf("%d members", n)
		}
		flood(t, s, 1000)
		s.Changed(t.Context(), db.Commit("k", cachetest.Renamed)) // so that L1 does not answer for it
		wantEntry(t, s, "k", true, authz.LayerDatabase)
	})
}

func TestMembership_ChangesDuringALoadAreKnown(t *testing.T) {
	bubble(t, func(t *testing.T, db *cachetest.Database, c *cachetest.Connection) {
		slow := 10 * time.Second // the list takes this long after the state was read
		c.Edit(func(c *cachetest.Connection) {
			c.List = func() (time.Duration, time.Duration, error) { return 0, slow, nil }
		})
		s := guarded(t, c)
		db.Commit("during", cachetest.Unchanged)
		time.Sleep(slow + DefaultPoll)
		synctest.Wait()
		c.Edit(func(c *cachetest.Connection) {
			c.List = func() (time.Duration, time.Duration, error) { return 0, 0, nil }
		})
		flood(t, s, 1000)
		wantEntry(t, s, "during", true, authz.LayerDatabase)
	})
}

func TestMembership_AFailedLoadIsTriedAgain(t *testing.T) {
	bubble(t, func(t *testing.T, db *cachetest.Database, c *cachetest.Connection) {
		c.Edit(func(c *cachetest.Connection) {
			c.List = func() (time.Duration, time.Duration, error) { return 0, 0, cachetest.ErrAway }
		})
		s := guarded(t, c)
		if n := s.Status().Members; n != -1 {
			t.Fatalf("%d members without a load", n)
		}
		c.Edit(func(c *cachetest.Connection) {
			c.List = func() (time.Duration, time.Duration, error) { return 0, 0, nil }
		})
		time.Sleep(2 * membership.Retry)
		synctest.Wait()
		if n := s.Status().Members; n != 1 {
			t.Errorf("%d members", n)
		}
	})
}

func BenchmarkForgedKey(b *testing.B) {
	c := cachetest.NewDatabase().Connect()
	s := start(b, Config{Database: c, Members: c})
	<-s.Ready()
	for s.Status().Members < 0 {
		time.Sleep(time.Millisecond)
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if e, err := s.Lookup(b.Context(), forgeries[i%len(forgeries)], nil); err != nil || e.Record != nil {
			b.Fatal(e, err)
		}
	}
}

var forgeries = func() (out [4096]string) {
	for i := range out {
		out[i] = fmt.Sprintf("ak_live_forged%d", i)
	}
	return out
}()
