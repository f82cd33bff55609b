package cachesvc

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"extauthz/authz"
	"extauthz/cachesvc/internal/cachetest"
	"extauthz/cachesvc/store"
)

func TestLook_WarnsOnceWithTheReason(t *testing.T) {
	var log bytes.Buffer
	logger := slog.New(slog.NewTextHandler(&log, nil)) // one logger for both: the replicas take turns
	edit := func(c *Config) {
		c.Logger = logger
		c.Monitor = MonitorConfig{Lookups: 10, Entries: 5}
	}
	pair(t, edit, func(t *testing.T, db *cachetest.Database, _ [2]*cachetest.Connection, w [2]*cachetest.Wire, s [2]*Service) {
		for i := range 20 {
			prefix := string(rune('a' + i))
			db.Commit(prefix, cachetest.Unchanged)
			time.Sleep(DefaultPoll)
			wantEntry(t, s[0], prefix, true, authz.LayerDatabase)
		}
		synctest.Wait()
		w[0].Mu.Lock()
		w[0].MemoryInfo = store.Memory{Used: 90, Max: 100, Policy: "allkeys-lru"}
		w[0].Mu.Unlock()
		for range 2 {
			findings := s[0].RunMonitors(t.Context())
			if len(findings) != 3 {
				t.Fatalf("%+v", findings)
			}
			for _, f := range findings {
				if f.OK {
					t.Errorf("%+v is content", f)
				}
			}
		}
		if n := strings.Count(log.String(), "cache monitor warns"); n != 3 {
			t.Errorf("%d warnings, want 3:\n%s", n, log.String())
		}
		if !strings.Contains(log.String(), "volatile-lru") {
			t.Errorf("the eviction policy is not logged:\n%s", log.String())
		}
		synctest.Wait()
		if all := s[1].Replicas(t.Context()); len(all) == 0 || all[0].HitRate != 0 {
			t.Errorf("replicas %+v", all)
		}
		st := s[0].Stats()
		found := false
		for _, e := range st.Entries {
			found = found || e == EntryCount{"redis", "validation", 20}
		}
		if !found {
			t.Errorf("entries %+v", st.Entries)
		}
		w[0].SetCondition(func() (time.Duration, error) { return 0, cachetest.ErrAway })
		time.Sleep(time.Second)
		s[0].RunMonitors(t.Context())
		for _, e := range s[0].Stats().Entries {
			if e.Layer == "redis" && e.Entries != -1 {
				t.Errorf("%+v while the store fails, want -1", e)
			}
		}
	})
}
