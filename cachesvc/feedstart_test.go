package cachesvc

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"extauthz/authz"
	"extauthz/cachesvc/internal/cachetest"
	"extauthz/cachesvc/seal"
)

// TestFeedStart_UsesRedisOnceThePastIsRead: a replica that starts trusts what the other
// replica has cached only once it knows what has changed since.
func TestFeedStart_UsesRedisOnceThePastIsRead(t *testing.T) {
	pair(t, nil, func(t *testing.T, db *cachetest.Database, c [2]*cachetest.Connection, w [2]*cachetest.Wire, s [2]*Service) {
		db.Commit("kept", cachetest.Unchanged)
		s[0].Wake()
		synctest.Wait()
		wantEntry(t, s[0], "k", true, authz.LayerDatabase)
		wantEntry(t, s[0], "kept", true, authz.LayerDatabase)
		synctest.Wait()
		time.Sleep(5 * time.Second)
		db.Commit("k", cachetest.Revoked) // as if typed by hand in SQL: Redis keeps the old value
		for range 10 {
			db.Commit("other", cachetest.Renamed)
		}
		db.Mu.Lock()
		db.Pages = 3
		db.Mu.Unlock()
		slow := c[1].Connect()
		slow.Edit(func(c *cachetest.Connection) {
			first := true
			c.Feed = func() (time.Duration, time.Duration, error) {
				if first {
					first = false
					return 0, 0, nil
				}
				return 0, 100 * time.Millisecond, nil
			}
		})
		late := start(t, Config{Database: slow, Shared: w[1], Sealing: seal.Keys{sealingKey(t, 1)}})
		wantEntry(t, late, "kept", true, authz.LayerDatabase)
		time.Sleep(2 * time.Second) // by now the changes from before the start are read
		wantEntry(t, late, "k", false, authz.LayerDatabase)
		late.keys.drop("kept")
		late.keys.present.Drop("kept")
		wantEntry(t, late, "kept", true, authz.LayerRedis)
	})
}

// TestFeedStart_NeverUsesRedisAfterABulkChange: if the window before the start is too
// long to be read, or was trimmed, what other replicas cached before the start stays
// unused.
func TestFeedStart_NeverUsesRedisAfterABulkChange(t *testing.T) {
	for _, why := range []string{"bulk", "trimmed"} {
		pair(t, nil, func(t *testing.T, db *cachetest.Database, c [2]*cachetest.Connection, w [2]*cachetest.Wire, s [2]*Service) {
			wantEntry(t, s[0], "k", true, authz.LayerDatabase)
			synctest.Wait()
			time.Sleep(5 * time.Second)
			for range 10 {
				db.Commit("other", cachetest.Renamed)
			}
			db.Commit("k", cachetest.Revoked)
			db.Mu.Lock()
			db.Pages = 3
			if why == "trimmed" {
				db.Log, db.Trimmed = nil, db.Version+1
			}
			db.Mu.Unlock()
			late, err := New(Config{Database: db.Connect(), Shared: w[1], Sealing: seal.Keys{sealingKey(t, 1)}})
			if err != nil {
				t.Fatal(err)
			}
			late.bulk = 4
			run(t, late)
			time.Sleep(2 * time.Second)
			wantEntry(t, late, "k", false, authz.LayerDatabase)
		})
	}
}

// TestFeed_ABacklogIsOneChange: from many changes at once the reader learns only that
// anything may have changed. It keeps serving, and serves no old state.
func TestFeed_ABacklogIsOneChange(t *testing.T) {
	bubble(t, func(t *testing.T, db *cachetest.Database, c *cachetest.Connection) {
		var out bytes.Buffer
		db.Commit("calm", cachetest.Unchanged)
		s := start(t, Config{Database: c, Logger: slog.New(slog.NewTextHandler(&out, nil))})
		s.bulk = 8
		wantEntry(t, s, "k", true, authz.LayerDatabase)
		wantEntry(t, s, "calm", true, authz.LayerDatabase)
		db.Mu.Lock()
		db.Pages = 3
		db.Mu.Unlock()
		edits := map[string]func(*authz.Record){"k": cachetest.Revoked}
		for i := range 20 {
			edits[fmt.Sprint("key", i)] = cachetest.Unchanged
		}
		db.FinishAll(db.Begin(), edits)
		time.Sleep(DefaultPoll)
		synctest.Wait()
		if got := s.Invalidations(1); len(got) != 1 || got[0].Target != "all" || got[0].Cause.Kind != CauseBulk || got[0].Dropped != 1 { // one entry: k was dropped by the first page
			t.Errorf("history %+v", got)
		}
		if st := s.Status(); st.RecentChanges != 0 || st.State != StateServing {
			t.Errorf("status %+v", st)
		}
		wantEntry(t, s, "k", false, authz.LayerDatabase)
		wantEntry(t, s, "calm", true, authz.LayerDatabase)
		wantEntry(t, s, "calm", true, authz.LayerLocal)
		if n := strings.Count(out.String(), "cause=bulk"); n != 1 {
			t.Errorf("logged %d times:\n%s", n, out.String())
		}
	})
}

// TestFeed_ASlowConnectionHasShorterPages: a page that is late is requested again with
// fewer rows, so that a slow connection slows the reader down but does not stop it.
func TestFeed_ASlowConnectionHasShorterPages(t *testing.T) {
	bubble(t, func(t *testing.T, db *cachetest.Database, c *cachetest.Connection) {
		s := start(t, Config{Database: slowRows{c, time.Millisecond}})
		wantEntry(t, s, "k", true, authz.LayerDatabase)
		edits := map[string]func(*authz.Record){"k": cachetest.Revoked}
		for i := range 6_000 { // this many rows take six seconds
			edits[fmt.Sprint("a", i)] = cachetest.Unchanged // all of them come before k
		}
		db.FinishAll(db.Begin(), edits)
		time.Sleep(30 * time.Second)
		synctest.Wait()
		if st := s.Status(); st.State != StateServing {
			t.Errorf("status %+v", st)
		}
		wantEntry(t, s, "k", false, authz.LayerDatabase)
	})
}
