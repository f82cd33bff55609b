package cachesvc

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"extauthz/authz"
	"extauthz/cachesvc/internal/cachetest"
)

func TestUserKeys_AreSharedAndDroppedByAnyReplicasChange(t *testing.T) {
	pair(t, nil, func(t *testing.T, db *cachetest.Database, _ [2]*cachetest.Connection, _ [2]*cachetest.Wire, s [2]*Service) {
		time.Sleep(DefaultPoll)
		synctest.Wait()
		loads := 0
		list := func(i, want int) {
			t.Helper()
			got, err := s[i].UserKeys(t.Context(), "user-k", func(context.Context) ([]authz.Record, error) {
				loads++
				return []authz.Record{db.Keys["k"]}, nil
			})
			if err != nil || len(got) != 1 || got[0].Name != db.Keys["k"].Name || loads != want {
				t.Fatalf("list %+v, %v after %d loads; want %d", got, err, loads, want)
			}
			synctest.Wait()
		}
		list(0, 1)
		list(1, 1)
		db.Commit("k", cachetest.Renamed) // as if typed by hand in SQL: no replica is notified
		time.Sleep(DefaultPoll)
		synctest.Wait()
		list(1, 2)
		list(0, 2)
	})
}
