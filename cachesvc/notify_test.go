package cachesvc

import (
	"testing"
	"testing/synctest"

	"extauthz/authz"
	"extauthz/cachesvc/internal/cachetest"
)

func TestNotifier_ARevocationReachesTheOtherReplica(t *testing.T) {
	pair(t, nil, func(t *testing.T, db *cachetest.Database, _ [2]*cachetest.Connection, w [2]*cachetest.Wire, s [2]*Service) {
		for i := range s {
			_, _ = s[i].Lookup(t.Context(), "k", nil)
			synctest.Wait()
		}
		s[0].Changed(t.Context(), db.Commit("k", cachetest.Revoked))
		synctest.Wait() // no time passes
		wantEntry(t, s[1], "k", false, authz.LayerDatabase)
		if keys, _ := w[0].Store.Tagged(t.Context(), "apikey-id-k", 9); len(keys) > 1 {
			t.Errorf("the shared store still holds %v", keys)
		}
	})
}

func TestInvalidate_ReachesAllReplicas(t *testing.T) {
	for _, target := range []Target{{Key: "k"}, {Key: "id-k"}, {User: "user-k"}, {Tag: "apikey-validation"}, {Tag: "apikey-id-k"}, {All: true}} {
		pair(t, nil, func(t *testing.T, db *cachetest.Database, _ [2]*cachetest.Connection, _ [2]*cachetest.Wire, s [2]*Service) {
			for i := range s {
				_, _ = s[i].Lookup(t.Context(), "k", nil)
				synctest.Wait()
			}
			dropped, err := s[0].Invalidate(t.Context(), target, "me", "test")
			if err != nil || dropped != 2 { // one in the process and one in the shared store
				t.Errorf("%+v: %d dropped, %v", target, dropped, err)
			}
			synctest.Wait()
			wantEntry(t, s[1], "k", true, authz.LayerDatabase)
			if got := s[1].Invalidations(1); len(got) != 1 || got[0].Cause.By != "another replica" {
				t.Errorf("%+v: history %+v", target, got)
			}
		})
	}
}
