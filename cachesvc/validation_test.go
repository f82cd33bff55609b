package cachesvc

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"

	"extauthz/authz"
	"extauthz/cachesvc/internal/cachetest"
	"extauthz/cachesvc/internal/freshness"
	"extauthz/cachesvc/internal/l1"
)

// bubble runs a test in simulated time, with a database that holds the key "k".
func bubble(t *testing.T, test func(t *testing.T, db *cachetest.Database, c *cachetest.Connection)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		db := cachetest.NewDatabase()
		db.Commit("k", cachetest.Unchanged)
		test(t, db, db.Connect())
	})
}

func wantEntry(t *testing.T, s *Service, prefix string, alive bool, layer authz.Layer) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), DefaultLookupWait+callerMargin)
	defer cancel()
	e, err := s.Lookup(ctx, prefix, nil)
	if err != nil || cachetest.IsLive(e.Record) != alive || e.Layer != layer {
		t.Fatalf("Lookup(%q) = %+v from %v, %v; want alive %v from %v", prefix, e.Record, e.Layer, err, alive, layer)
	}
}

func wantError(t *testing.T, s *Service, prefix string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), DefaultLookupWait+callerMargin)
	defer cancel()
	if e, err := s.Lookup(ctx, prefix, nil); err == nil {
		t.Fatalf("Lookup(%q) = %+v from %v; want an error", prefix, e.Record, e.Layer)
	}
}

func failing(err error) func() (time.Duration, time.Duration, error) {
	return func() (time.Duration, time.Duration, error) { return 0, 0, err }
}

func taking(before time.Duration) func() (time.Duration, time.Duration, error) {
	return func() (time.Duration, time.Duration, error) { return before, 0, nil }
}

func TestLookup_TheSecondOneIsAHit(t *testing.T) {
	bubble(t, func(t *testing.T, db *cachetest.Database, c *cachetest.Connection) {
		s := start(t, Config{Database: c})
		wantEntry(t, s, "k", true, authz.LayerDatabase)
		wantEntry(t, s, "k", true, authz.LayerLocal)
		wantEntry(t, s, "none", false, authz.LayerDatabase)
		wantEntry(t, s, "none", false, authz.LayerLocal)
		if st := s.Stats(); st.HitRate != .5 {
			t.Errorf("hit rate %v, want 0.5", st.HitRate)
		}
	})
}

func TestLookup_AValueEndsWithItsLifetime(t *testing.T) {
	bubble(t, func(t *testing.T, db *cachetest.Database, c *cachetest.Connection) {
		s := start(t, Config{Database: c, Jitter: func() float64 { return 0 }})
		wantEntry(t, s, "k", true, authz.LayerDatabase)
		wantEntry(t, s, "none", false, authz.LayerDatabase)
		time.Sleep(DefaultNegativeTTL)
		wantEntry(t, s, "none", false, authz.LayerDatabase)
		wantEntry(t, s, "k", true, authz.LayerLocal)
		time.Sleep(DefaultValidationTTL - DefaultNegativeTTL)
		wantEntry(t, s, "k", true, authz.LayerDatabase)
	})
}

func TestReader_ABurstOnAColdKeyIsOneQuery(t *testing.T) {
	for _, prefix := range []string{"k", "none"} {
		bubble(t, func(t *testing.T, db *cachetest.Database, c *cachetest.Connection) {
			c.Lookup = taking(20 * time.Millisecond)
			s := start(t, Config{Database: c})
			var burst sync.WaitGroup
			for range 1000 {
				burst.Go(func() {
					if e, err := s.Lookup(t.Context(), prefix, nil); err != nil || cachetest.IsLive(e.Record) != (prefix == "k") {
						t.Errorf("Lookup = %+v, %v", e, err)
					}
				})
			}
			burst.Wait()
			if db.KeyReads != 1 {
				t.Errorf("%d queries for %q, want 1", db.KeyReads, prefix)
			}
		})
	}
}

func TestReader_AMissJustAfterAFlightFindsItsValueInL1(t *testing.T) {
	bubble(t, func(t *testing.T, db *cachetest.Database, c *cachetest.Connection) {
		s := start(t, Config{Database: c})
		wantEntry(t, s, "k", true, authz.LayerDatabase)
		// This look-up missed L1, as if just before the flight above ended.
		if _, layer, err := s.keys.readOrFallBack(t.Context(), "k", nil); err != nil || layer != authz.LayerLocal || db.KeyReads != 1 {
			t.Errorf("answered by %v, %v, after %d queries", layer, err, db.KeyReads)
		}
	})
}

func TestReader_InAnOutageOneLookupWaitsAndTheOthersDoNot(t *testing.T) {
	bubble(t, func(t *testing.T, db *cachetest.Database, c *cachetest.Connection) {
		s := start(t, Config{Database: c})
		wantEntry(t, s, "k", true, authz.LayerDatabase)
		c.Edit(func(c *cachetest.Connection) { c.Lookup, c.Feed = taking(time.Hour), taking(time.Hour) })
		time.Sleep(DefaultLease + DefaultPoll)
		began := time.Now()
		for range 100 {
			wantEntry(t, s, "k", true, authz.LayerLocal)
		}
		if took := time.Since(began); took != fallbackWait {
			t.Errorf("100 look-ups waited %s, want %s: one of them, once", took, fallbackWait)
		}
	})
}

// TestReader_AClientThatLeavesEarlyIsNotAnOutage: a client that leaves after a few
// milliseconds has not shown that the database is unreachable. So other clients must not
// get old values because of it.
func TestReader_AClientThatLeavesEarlyIsNotAnOutage(t *testing.T) {
	bubble(t, func(t *testing.T, db *cachetest.Database, c *cachetest.Connection) {
		s := start(t, Config{Database: c})
		wantEntry(t, s, "k", true, authz.LayerDatabase)
		c.Edit(func(c *cachetest.Connection) { c.Lookup, c.Feed = taking(20*time.Millisecond), taking(time.Hour) })
		time.Sleep(DefaultLease + DefaultPoll)
		db.Commit("k", cachetest.Revoked)
		hasty, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		if e, err := s.Lookup(hasty, "k", nil); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %+v, %v", e, err)
		}
		if e, err := s.Lookup(t.Context(), "k", nil); err != nil || cachetest.IsLive(e.Record) {
			t.Errorf("got %+v, %v: the database would have answered", e, err)
		}
	})
}

// TestReader_OneUnreadableRowIsNotAnOutage: otherwise one spoilt row, or one field of a
// backup, would delay the revocation of all other keys.
func TestReader_OneUnreadableRowIsNotAnOutage(t *testing.T) {
	bubble(t, func(t *testing.T, db *cachetest.Database, c *cachetest.Connection) {
		s := start(t, Config{Database: c})
		wantEntry(t, s, "k", true, authz.LayerDatabase)
		c.Edit(func(c *cachetest.Connection) { c.Feed = taking(time.Hour) })
		time.Sleep(DefaultLease + DefaultPoll)
		c.Edit(func(c *cachetest.Connection) {
			c.Lookup = func() (time.Duration, time.Duration, error) {
				return 0, 0, fmt.Errorf("%w: key bad", authz.ErrUnreadable)
			}
		})
		if _, err := s.Lookup(t.Context(), "bad", nil); !errors.Is(err, authz.ErrUnreadable) {
			t.Errorf("got %v", err)
		}
		c.Edit(func(c *cachetest.Connection) { c.Lookup = taking(0) })
		db.Commit("k", cachetest.Revoked)
		wantEntry(t, s, "k", false, authz.LayerDatabase)
	})
}

func TestReader_AWaiterThatLeavesDoesNotEndTheFlight(t *testing.T) {
	bubble(t, func(t *testing.T, db *cachetest.Database, c *cachetest.Connection) {
		c.Lookup = taking(100 * time.Millisecond)
		s := start(t, Config{Database: c})
		first, leave := context.WithCancel(t.Context())
		left := make(chan error)
		go func() {
			_, err := s.Lookup(first, "k", nil)
			left <- err
		}()
		synctest.Wait()
		answered := make(chan error)
		go func() {
			_, err := s.Lookup(t.Context(), "k", nil)
			answered <- err
		}()
		synctest.Wait()
		leave()
		if err := <-left; !errors.Is(err, context.Canceled) {
			t.Errorf("the one who left got %v", err)
		}
		if err := <-answered; err != nil || db.KeyReads != 1 {
			t.Errorf("the one who stayed got %v after %d queries", err, db.KeyReads)
		}
	})
}

// loaderFunc makes a function a loader of keys.
type loaderFunc func(ctx context.Context, prefix string) (l1.Credential, uint64, error)

func (f loaderFunc) load(ctx context.Context, prefix string) (l1.Credential, uint64, error) {
	return f(ctx, prefix)
}

func TestReader_AFlightOverItsBudgetIsDiscarded(t *testing.T) {
	bubble(t, func(t *testing.T, db *cachetest.Database, c *cachetest.Connection) {
		s := start(t, Config{Database: c, LookupWait: 2 * DefaultFlightBudget})
		var calls int
		s.keys.database = loaderFunc(func(context.Context, string) (l1.Credential, uint64, error) {
			if calls++; calls == 1 {
				time.Sleep(DefaultFlightBudget + 1) // as if the process were frozen, in which case ctx does not end the read
				return l1.Credential{}, 1, nil
			}
			return l1.Credential{}, 1, nil
		})
		if _, err := s.Lookup(t.Context(), "k", nil); err != nil || calls != 2 {
			t.Errorf("%v after %d reads; want the second read's answer", err, calls)
		}
	})
}

func TestReader_ServesKnownKeysUntilMaxStale(t *testing.T) {
	for name, broken := range map[string]func() (time.Duration, time.Duration, error){
		"failing": failing(cachetest.ErrAway), "frozen": taking(time.Hour),
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, db *cachetest.Database, c *cachetest.Connection) {
				s := start(t, Config{Database: c})
				wantEntry(t, s, "k", true, authz.LayerDatabase)
				wantEntry(t, s, "none", false, authz.LayerDatabase)
				c.Edit(func(c *cachetest.Connection) { c.Lookup, c.Feed = broken, broken })
				away := time.Now()
				for time.Since(away) < DefaultMaxStale-DefaultPoll {
					wantEntry(t, s, "k", true, authz.LayerLocal)
					wantError(t, s, "cold")
					if time.Since(away) > DefaultLease {
						wantError(t, s, "none") // that there is no such key can't be known now
					}
					time.Sleep(977 * time.Millisecond)
				}
				time.Sleep(DefaultPoll + time.Second)
				wantError(t, s, "k")
				if st := s.Status(); st.State != StateExhausted || !st.Ready {
					t.Errorf("status %+v", st)
				}
				c.Edit(func(c *cachetest.Connection) { c.Lookup, c.Feed = failing(nil), failing(nil) })
				time.Sleep(2 * time.Second)
				wantEntry(t, s, "k", true, authz.LayerDatabase)
				wantEntry(t, s, "k", true, authz.LayerLocal)
			})
		})
	}
}

func TestReader_WithoutAFeedEveryLookupAsksTheDatabase(t *testing.T) {
	bubble(t, func(t *testing.T, db *cachetest.Database, c *cachetest.Connection) {
		s := start(t, Config{Database: c})
		wantEntry(t, s, "k", true, authz.LayerDatabase)
		c.Edit(func(c *cachetest.Connection) { c.Feed = failing(cachetest.ErrAway) })
		time.Sleep(DefaultLease)
		wantEntry(t, s, "k", true, authz.LayerDatabase)
		db.Commit("k", cachetest.Revoked)
		wantEntry(t, s, "k", false, authz.LayerDatabase)
		if st := s.Status(); st.State != StateRevalidating {
			t.Errorf("state %q", st.State)
		}
	})
}

func TestReader_FindsARecoveredDatabaseWithoutTheFeed(t *testing.T) {
	bubble(t, func(t *testing.T, db *cachetest.Database, c *cachetest.Connection) {
		s := start(t, Config{Database: c})
		wantEntry(t, s, "k", true, authz.LayerDatabase)
		c.Edit(func(c *cachetest.Connection) {
			c.Lookup, c.Feed = failing(cachetest.ErrAway), failing(cachetest.ErrAway)
		})
		time.Sleep(DefaultLease)
		wantEntry(t, s, "k", true, authz.LayerLocal)
		db.Commit("k", cachetest.Revoked)
		c.Edit(func(c *cachetest.Connection) { c.Lookup = failing(nil) })
		time.Sleep(freshness.ProbePause)
		wantEntry(t, s, "k", false, authz.LayerDatabase)
	})
}

func TestReader_AnOlderStateThanAnnouncedIsAnError(t *testing.T) {
	bubble(t, func(t *testing.T, db *cachetest.Database, c *cachetest.Connection) {
		s := start(t, Config{Database: c})
		s.Changed(t.Context(), []authz.Change{{Version: 99, Kind: authz.ChangeKey, Prefix: "k"}})
		if _, err := s.Lookup(t.Context(), "k", nil); !errors.Is(err, errOutdated) {
			t.Errorf("got %v from a database that lags", err)
		}
	})
}

func TestReader_UnknownKeysDoNotDisplaceKnownOnes(t *testing.T) {
	bubble(t, func(t *testing.T, db *cachetest.Database, c *cachetest.Connection) {
		s := start(t, Config{Database: c, MaxKeys: 1000, MaxNegative: 500})
		for i := range 300 {
			db.Commit(fmt.Sprint("real-", i), cachetest.Unchanged)
		}
		time.Sleep(time.Second)
		for i := range 300 {
			wantEntry(t, s, fmt.Sprint("real-", i), true, authz.LayerDatabase)
		}
		for i := range 5000 {
			wantEntry(t, s, fmt.Sprint("forged-", i), false, authz.LayerDatabase)
		}
		for i := range 300 {
			wantEntry(t, s, fmt.Sprint("real-", i), true, authz.LayerLocal)
		}
		if n := s.keys.negative.Len(); n > 500 {
			t.Errorf("%d unknown keys are held, want 500 at most", n)
		}
	})
}

func TestReader_AValueStoredAfterItsChangeIsNotDelivered(t *testing.T) {
	for name, announce := range map[string]func(*Service, []authz.Change){
		"made here, of a version not known": func(s *Service, changes []authz.Change) {
			changes[0].Version = 0
			s.Changed(t.Context(), changes)
		},
		"announced by the feed": func(*Service, []authz.Change) { time.Sleep(2 * DefaultPoll) },
	} {
		bubble(t, func(t *testing.T, db *cachetest.Database, c *cachetest.Connection) {
			s := start(t, Config{Database: c})
			wantEntry(t, s, "k", true, authz.LayerDatabase)
			late := s.keys.present.Get("k", nil)
			announce(s, db.Commit("k", cachetest.Revoked))
			for range 3 { // first cold, then hot
				s.keys.present.Put("k", late)
				s.keys.present.Get("k", nil)
				s.keys.present.Get("k", nil)
				if e, err := s.Lookup(t.Context(), "k", nil); err != nil || cachetest.IsLive(e.Record) {
					t.Errorf("%s: got %+v, %v", name, e.Record, err)
				}
			}
		})
	}
}

func TestLookup_ABorrowedPrefixIsNotKept(t *testing.T) {
	bubble(t, func(t *testing.T, db *cachetest.Database, c *cachetest.Connection) {
		s := start(t, Config{Database: c})
		buffer := []byte("k")
		wantEntry(t, s, unsafe.String(&buffer[0], len(buffer)), true, authz.LayerDatabase)
		buffer[0] = 'x'
		wantEntry(t, s, "k", true, authz.LayerLocal)
	})
}

func TestNew_NamesEveryProblemOfTheConfiguration(t *testing.T) {
	_, err := New(Config{Poll: 2 * time.Second, FlightBudget: 3 * time.Second, MaxStale: time.Millisecond, Retention: time.Minute, MaxKeys: -1, FlushEvery: -1})
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{"no database", "feed.poll", "flight budget", "max_stale", "feed.retention", "max_keys", "flush_interval"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not named in: %v", want, err)
		}
	}
}

func BenchmarkHit(b *testing.B) {
	db := cachetest.NewDatabase()
	prefixes := make([]string, 10_000)
	for i := range prefixes {
		prefixes[i] = fmt.Sprintf("ak_live_%08d", i)
		db.Commit(prefixes[i], cachetest.Unchanged)
	}
	s := start(b, Config{Database: db.Connect()})
	for _, p := range prefixes {
		if _, err := s.Lookup(b.Context(), p, nil); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		var own authz.Scratch
		for i := 0; pb.Next(); i++ {
			e, err := s.Lookup(b.Context(), prefixes[i%len(prefixes)], &own)
			if err != nil || e.Record == nil {
				b.Fatal(e, err)
			}
			s.Used(e.Record.ID, e.Record.CreatedAt)
		}
	})
}

// TestLookup_EndsBeforeItsCaller: a look-up leaves its caller time to answer, and ends no
// later than its own limit.
func TestLookup_EndsBeforeItsCaller(t *testing.T) {
	bubble(t, func(t *testing.T, db *cachetest.Database, c *cachetest.Connection) {
		s := start(t, Config{Database: c})
		c.Edit(func(c *cachetest.Connection) { c.Lookup = taking(time.Hour) })
		for caller, want := range map[time.Duration]time.Duration{100 * time.Millisecond: 80 * time.Millisecond, time.Second: DefaultLookupWait} {
			ctx, cancel := context.WithTimeout(t.Context(), caller)
			began := time.Now()
			if _, err := s.Lookup(ctx, "k", nil); err == nil || time.Since(began) != want {
				t.Errorf("a caller with %s waited %s (%v), want %s", caller, time.Since(began), err, want)
			}
			cancel()
		}
	})
}
