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
	"extauthz/cachesvc/seal"
)

// TestFeedStart_UsesRedisOnceThePastIsRead: what the other replica has cached is not
// believed by one that starts before that knows what has changed since.
func TestFeedStart_UsesRedisOnceThePastIsRead(t *testing.T) {
	pair(t, nil, func(t *testing.T, db *database, c [2]*connection, w [2]*wire, s [2]*Service) {
		db.commit("kept", as)
		s[0].Ring()
		synctest.Wait()
		wantEntry(t, s[0], "k", true, authz.LayerDatabase)
		wantEntry(t, s[0], "kept", true, authz.LayerDatabase)
		synctest.Wait()
		time.Sleep(5 * time.Second)
		db.commit("k", revoked) // by hand: Redis keeps the value
		for range 10 {
			db.commit("other", named)
		}
		db.mu.Lock()
		db.pages = 3
		db.mu.Unlock()
		slow := c[1].connect()
		slow.set(func(c *connection) {
			first := true
			c.feed = func() (time.Duration, time.Duration, error) {
				if first {
					first = false
					return 0, 0, nil
				}
				return 0, 100 * time.Millisecond, nil
			}
		})
		late := start(t, Config{Database: slow, Shared: w[1], Sealing: seal.Keys{sealingKey(t, 1)}})
		wantEntry(t, late, "kept", true, authz.LayerDatabase)
		time.Sleep(2 * time.Second) // the past is read by now
		wantEntry(t, late, "k", false, authz.LayerDatabase)
		late.keys.drop("kept")
		late.keys.present.drop("kept")
		wantEntry(t, late, "kept", true, authz.LayerRedis)
	})
}

// TestFeedStart_NeverUsesRedisAfterABulkChange: a window that is too long to be read,
// or was trimmed, leaves what others cached before the start unused.
func TestFeedStart_NeverUsesRedisAfterABulkChange(t *testing.T) {
	for _, why := range []string{"bulk", "trimmed"} {
		pair(t, nil, func(t *testing.T, db *database, c [2]*connection, w [2]*wire, s [2]*Service) {
			wantEntry(t, s[0], "k", true, authz.LayerDatabase)
			synctest.Wait()
			time.Sleep(5 * time.Second)
			for range 10 {
				db.commit("other", named)
			}
			db.commit("k", revoked)
			db.mu.Lock()
			db.pages = 3
			if why == "trimmed" {
				db.log, db.trimmed = nil, db.version+1
			}
			db.mu.Unlock()
			late, err := New(Config{Database: db.connect(), Shared: w[1], Sealing: seal.Keys{sealingKey(t, 1)}})
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

// TestFeed_ABacklogIsOneChange: the reader learns of many changes at once that anything
// may be another, keeps serving, and knows no old state.
func TestFeed_ABacklogIsOneChange(t *testing.T) {
	bubble(t, func(t *testing.T, db *database, c *connection) {
		var out bytes.Buffer
		db.commit("calm", as)
		s := start(t, Config{Database: c, Logger: slog.New(slog.NewTextHandler(&out, nil))})
		s.bulk = 8
		wantEntry(t, s, "k", true, authz.LayerDatabase)
		wantEntry(t, s, "calm", true, authz.LayerDatabase)
		db.mu.Lock()
		db.pages = 3
		db.mu.Unlock()
		edits := map[string]func(*authz.Record){"k": revoked}
		for i := range 20 {
			edits[fmt.Sprint("key", i)] = as
		}
		db.finishAll(db.begin(), edits)
		time.Sleep(DefaultPoll)
		synctest.Wait()
		if got := s.Invalidations(1); len(got) != 1 || got[0].Target != "all" || got[0].Cause.Kind != CauseBulk || got[0].Dropped != 1 { // k was of the first page
			t.Errorf("history %+v", got)
		}
		if st := s.Status(); st.RecentChanges != 0 || st.State != StateServing {
			t.Errorf("status %+v", st)
		}
		wantEntry(t, s, "k", false, authz.LayerDatabase)
		wantEntry(t, s, "calm", true, authz.LayerDatabase)
		wantEntry(t, s, "calm", true, authz.LayerLocal)
		if n := strings.Count(out.String(), "cause=bulk"); n != 1 {
			t.Errorf("told %d times:\n%s", n, out.String())
		}
	})
}

// TestFeed_ASlowWayHasShorterPages: a page that is late is asked for again with fewer
// rows, so that a slow way slows the reader down and does not stop it.
func TestFeed_ASlowWayHasShorterPages(t *testing.T) {
	bubble(t, func(t *testing.T, db *database, c *connection) {
		s := start(t, Config{Database: slowRows{c, time.Millisecond}})
		wantEntry(t, s, "k", true, authz.LayerDatabase)
		edits := map[string]func(*authz.Record){"k": revoked}
		for i := range 6_000 { // six seconds
			edits[fmt.Sprint("a", i)] = as // all before k
		}
		db.finishAll(db.begin(), edits)
		time.Sleep(30 * time.Second)
		synctest.Wait()
		if st := s.Status(); st.State != StateServing {
			t.Errorf("status %+v", st)
		}
		wantEntry(t, s, "k", false, authz.LayerDatabase)
	})
}
