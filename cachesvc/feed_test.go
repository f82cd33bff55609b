package cachesvc

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"extauthz/authz"
	"extauthz/cachesvc/internal/cachetest"
	"extauthz/cachesvc/internal/freshness"
	"extauthz/feed"
)

func TestChanged_TheNextCheckOnTheReplicaThatRevokedIsRefused(t *testing.T) {
	bubble(t, func(t *testing.T, db *cachetest.Database, c *cachetest.Connection) {
		s := start(t, Config{Database: c})
		wantEntry(t, s, "k", true, authz.LayerDatabase)
		s.Changed(t.Context(), db.Commit("k", cachetest.Revoked))
		wantEntry(t, s, "k", false, authz.LayerDatabase)
		wantEntry(t, s, "k", false, authz.LayerLocal)
	})
}

func TestFeed_LearnsAtOnceWhenNotifiedAndSoonWithout(t *testing.T) {
	bubble(t, func(t *testing.T, db *cachetest.Database, c *cachetest.Connection) {
		s := start(t, Config{Database: c})
		for _, edit := range []func(*authz.Record){cachetest.Revoked, nil} { // the second is a DELETE typed by hand
			db.Commit("k", cachetest.Unchanged)
			s.Wake()
			synctest.Wait()
			wantEntry(t, s, "k", edit != nil, authz.LayerDatabase)
			db.Commit("k", edit)
			time.Sleep(DefaultPoll)
			synctest.Wait()
			wantEntry(t, s, "k", false, authz.LayerDatabase)
		}
		created := db.Commit("new", cachetest.Unchanged)
		s.Changed(t.Context(), created)
		wantEntry(t, s, "new", true, authz.LayerDatabase)
		if got := s.Invalidations(1); len(got) != 1 || got[0].Target != "key new" || got[0].Cause.Kind != CauseOwnWrite {
			t.Errorf("history %+v", got)
		}
	})
}

func TestFeed_ANegativeEntryEndsWithTheCreation(t *testing.T) {
	bubble(t, func(t *testing.T, db *cachetest.Database, c *cachetest.Connection) {
		s := start(t, Config{Database: c})
		wantEntry(t, s, "new", false, authz.LayerDatabase)
		s.Changed(t.Context(), db.Commit("new", cachetest.Unchanged))
		wantEntry(t, s, "new", true, authz.LayerDatabase)
	})
}

func TestReader_AFlightDuringAChangeIsReadAgain(t *testing.T) {
	for prefix, edit := range map[string]func(*authz.Record){"k": cachetest.Revoked, "new": cachetest.Unchanged} {
		bubble(t, func(t *testing.T, db *cachetest.Database, c *cachetest.Connection) {
			s := start(t, Config{Database: c})
			c.Edit(func(c *cachetest.Connection) {
				c.Lookup = func() (time.Duration, time.Duration, error) { return 0, 20 * time.Millisecond, nil }
			})
			go func() {
				time.Sleep(10 * time.Millisecond) // now the old state has been read and is in transit
				db.Commit(prefix, edit)
				s.Wake()
			}()
			wantEntry(t, s, prefix, prefix == "new", authz.LayerDatabase)
			wantEntry(t, s, prefix, prefix == "new", authz.LayerLocal)
			if db.KeyReads != 2 {
				t.Errorf("%d queries for %q, want 2", db.KeyReads, prefix)
			}
		})
	}
}

func TestFeed_ARepeatedChangeChangesNothing(t *testing.T) {
	bubble(t, func(t *testing.T, db *cachetest.Database, c *cachetest.Connection) {
		s := start(t, Config{Database: c})
		db.Commit("k", cachetest.Renamed)
		s.Wake()
		synctest.Wait()
		wantEntry(t, s, "k", true, authz.LayerDatabase)
		s.apply(db.Page(feed.Cursor{}, 100).Changes, Cause{Kind: CauseFeed})
		wantEntry(t, s, "k", true, authz.LayerLocal)
	})
}

func TestFeed_AnUnknownKindOfChangeIsAboutEverything(t *testing.T) {
	bubble(t, func(t *testing.T, db *cachetest.Database, c *cachetest.Connection) {
		s := start(t, Config{Database: c})
		wantEntry(t, s, "k", true, authz.LayerDatabase)
		s.apply([]authz.Change{{Version: 7, Kind: 200}}, Cause{Kind: CauseFeed})
		wantEntry(t, s, "k", true, authz.LayerDatabase)
	})
}

func TestFeed_AnotherEpochAndAGapEmptyTheCache(t *testing.T) {
	for _, restored := range []string{"two", "", "trimmed"} { // "": restored in the same epoch
		cause := CauseEpoch
		if restored == "trimmed" {
			cause = CauseTrimmed
		}
		bubble(t, func(t *testing.T, db *cachetest.Database, c *cachetest.Connection) {
			restore := db.Backup()
			for range 5 {
				db.Commit("k", cachetest.Renamed)
			}
			s := start(t, Config{Database: c})
			wantEntry(t, s, "k", true, authz.LayerDatabase)
			if cause == CauseEpoch {
				restore(restored)
			} else {
				db.Mu.Lock()
				db.Keys["k"] = authz.Record{Prefix: "k", Version: 6} // a change that is gone from the feed made this version
				db.Trimmed = 100
				db.Mu.Unlock()
			}
			time.Sleep(DefaultPoll)
			synctest.Wait()
			db.Mu.Lock()
			db.Trimmed = 0
			db.Mu.Unlock()
			if st := s.Invalidations(1); len(st) != 1 || st[0].Cause.Kind != cause || st[0].Dropped != 1 {
				t.Errorf("history %+v, want %s", st, cause)
			}
			wantEntry(t, s, "k", cause == CauseEpoch, authz.LayerDatabase)
			if restored == "" && db.Epoch != "one'" {
				t.Errorf("the database is still in epoch %s, which replicas that start now would trust", db.Epoch)
			}
		})
	}
}

func TestReader_WhatWasReadBeforeTheFirstFeedReadIsNotKept(t *testing.T) {
	bubble(t, func(t *testing.T, db *cachetest.Database, c *cachetest.Connection) {
		s := start(t, Config{Database: c})
		restore := db.Backup()
		db.Mu.Lock()
		db.Epoch = "two"
		db.Mu.Unlock()
		// The reader has seen epoch "two", in which versions go on and are read. The next
		// restore follows before the feed starts again. After it a lower version is the
		// true one.
		s.restartHistory(Cause{Kind: CauseEpoch}, "one", false)
		db.Commit("k", cachetest.Unchanged)
		db.Commit("k", cachetest.Unchanged)
		wantEntry(t, s, "k", true, authz.LayerDatabase)
		onItsWay := s.keys.present.Get("k", nil)
		restore("three")
		db.Commit("k", cachetest.Revoked)
		time.Sleep(2 * DefaultPoll)
		if s.trust.fresh(freshness.Topic{Subject: freshness.SubjectKey, ID: "k"}, &onItsWay.Stamp) {
			t.Error("a value of another epoch counts as fresh")
		}
		wantEntry(t, s, "k", false, authz.LayerDatabase)
	})
}

// TestFeed_VersionsThatWentBackEndTheEpoch: feed positions go on while versions go back,
// as in Postgres if only the sequence was set back. So nothing but the versions shows it.
func TestFeed_VersionsThatWentBackEndTheEpoch(t *testing.T) {
	bubble(t, func(t *testing.T, db *cachetest.Database, c *cachetest.Connection) {
		var out bytes.Buffer
		for range 5 {
			db.Commit("k", cachetest.Renamed)
		}
		s := start(t, Config{Database: c, Logger: slog.New(slog.NewTextHandler(&out, nil))})
		wantEntry(t, s, "k", true, authz.LayerDatabase)
		db.Mu.Lock()
		db.Behind = 4
		db.Mu.Unlock()
		db.Commit("k", cachetest.Revoked) // its version is 3
		time.Sleep(2 * DefaultPoll)
		synctest.Wait()
		wantEntry(t, s, "k", false, authz.LayerDatabase)
		if st := s.Invalidations(1); len(st) != 1 || st[0].Cause.Kind != CauseEpoch || !strings.Contains(out.String(), "versions went back from 6 to 3") {
			t.Errorf("history %+v; %s", st, out.String())
		}
		if db.CurrentEpoch() != "one'" {
			t.Errorf("the database is still in epoch %s, which replicas that start now would trust", db.CurrentEpoch())
		}
	})
}

func TestStatus_EachStateIsLoggedOnce(t *testing.T) {
	bubble(t, func(t *testing.T, db *cachetest.Database, c *cachetest.Connection) {
		var out bytes.Buffer
		s := start(t, Config{Database: c, Logger: slog.New(slog.NewTextHandler(&out, nil))})
		weather := func(feed, lookup error, d time.Duration) {
			c.Edit(func(c *cachetest.Connection) { c.Feed, c.Lookup = failing(feed), failing(lookup) })
			for range d / (100 * time.Millisecond) {
				_, _ = s.Lookup(t.Context(), "k", nil)
				time.Sleep(100 * time.Millisecond)
			}
		}
		weather(nil, nil, time.Second)
		weather(cachetest.ErrAway, nil, 5*time.Second)
		weather(cachetest.ErrAway, cachetest.ErrAway, 10*time.Second)
		weather(nil, nil, 5*time.Second)
		synctest.Wait()
		var states []string
		for line := range strings.Lines(out.String()) {
			_, after, _ := strings.Cut(line, "state=")
			state, _, _ := strings.Cut(after, " ")
			states = append(states, state)
		}
		want := fmt.Sprint([]State{StateServing, StateRevalidating, StateAway, StateServing})
		if got := fmt.Sprint(states); got != want {
			t.Errorf("states logged: %s, want %s\n%s", got, want, out.String())
		}
	})
}

func TestNow_IsTheDatabasesTime(t *testing.T) {
	bubble(t, func(t *testing.T, db *cachetest.Database, c *cachetest.Connection) {
		db.Ahead = 90 * time.Second
		s := start(t, Config{Database: c})
		time.Sleep(10 * time.Second)
		if got := time.Until(s.Now()); got != 90*time.Second {
			t.Errorf("Now is ahead by %s, want 90 s", got)
		}
		if got := s.Status().DatabaseAhead; got != 90*time.Second {
			t.Errorf("the status reports a drift of %s, want 90 s", got)
		}
		c.Edit(func(c *cachetest.Connection) { c.Feed = failing(cachetest.ErrAway) })
		time.Sleep(DefaultMaxStale + time.Second)
		if got := time.Until(s.Now()); got != 0 {
			t.Errorf("after MaxStale without the database Now is ahead by %s, want the local clock", got)
		}
	})
}

func TestMetrics_NameNoKeyAndCanBeGathered(t *testing.T) {
	bubble(t, func(t *testing.T, db *cachetest.Database, c *cachetest.Connection) {
		registry := prometheus.NewPedanticRegistry()
		s := start(t, Config{Database: c, Registerer: registry})
		wantEntry(t, s, "k", true, authz.LayerDatabase)
		wantEntry(t, s, "k", true, authz.LayerLocal)
		db.Commit("k", cachetest.Revoked)
		time.Sleep(DefaultPoll)
		synctest.Wait()
		families, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		values := map[string]float64{}
		for _, family := range families {
			for _, metric := range family.Metric {
				name := family.GetName()
				for _, label := range metric.Label {
					name += " " + label.GetValue()
				}
				values[name] = metric.GetCounter().GetValue() + metric.GetGauge().GetValue() + float64(metric.GetHistogram().GetSampleCount())
			}
		}
		for name, want := range map[string]float64{
			"extauthz_cache_requests_total local hit": 1, "extauthz_cache_requests_total local miss": 1,
			"extauthz_cache_requests_total database hit": 1, "extauthz_cache_invalidations_total feed": 1,
			"extauthz_cache_entries local validation": 0, "extauthz_invalidation_lag_seconds": 1,
		} {
			if got, ok := values[name]; !ok || got != want {
				t.Errorf("%s is %v (there: %v), want %v", name, got, ok, want)
			}
		}
	})
}
