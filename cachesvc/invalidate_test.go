package cachesvc

import (
	"context"
	"errors"
	"net/netip"
	"reflect"
	"testing"
	"testing/synctest"
	"time"

	"extauthz/authz"
	"extauthz/cachesvc/internal/cachetest"
	"extauthz/cachesvc/internal/freshness"
)

func TestInvalidate_EntriesAreReadAgainAndTheEventIsRemembered(t *testing.T) {
	for name, target := range map[string]Target{
		"key k": {Key: "k"}, "key id-k": {Key: "id-k"}, "user user-k": {User: "user-k"}, "all": {All: true},
		"tag apikey-validation": {Tag: "apikey-validation"}, "tag apikey-id-k": {Tag: "apikey-id-k"},
		"tag apikey-user-user-k": {Tag: "apikey-user-user-k"},
	} {
		bubble(t, func(t *testing.T, db *cachetest.Database, c *cachetest.Connection) {
			db.Commit("other", cachetest.Unchanged)
			s := start(t, Config{Database: c})
			wantEntry(t, s, "k", true, authz.LayerDatabase)
			wantEntry(t, s, "other", true, authz.LayerDatabase)
			n, err := s.Invalidate(t.Context(), target, "admin-1", "a try")
			whole := name == "all" || name == "tag apikey-validation"
			if err != nil || n != 1 && !whole || n != 2 && whole {
				t.Errorf("%s: dropped %d, %v", name, n, err)
			}
			wantEntry(t, s, "k", true, authz.LayerDatabase)
			got := s.Invalidations(10)
			want := Cause{Kind: CauseRequested, By: "admin-1", Why: "a try"}
			if len(got) != 1 || got[0].Target != name || got[0].Cause != want || got[0].Dropped != n {
				t.Errorf("history %+v", got)
			}
		})
	}
}

func TestInvalidate_ATargetNamesOneThing(t *testing.T) {
	s, err := New(Config{Database: cachetest.NewDatabase().Connect()})
	if err != nil {
		t.Fatal(err)
	}
	for _, target := range []Target{{}, {Key: "k", All: true}, {Tag: "other"}, {Tag: "apikey-user-"}, {Tag: "apikey-"}} {
		if _, err := s.Invalidate(t.Context(), target, "", ""); !errors.Is(err, ErrTarget) {
			t.Errorf("%+v: %v", target, err)
		}
	}
}

func TestInvalidate_AnEarlierFlightIsNotKept(t *testing.T) {
	bubble(t, func(t *testing.T, db *cachetest.Database, c *cachetest.Connection) {
		s := start(t, Config{Database: c})
		c.Edit(func(c *cachetest.Connection) { c.Lookup = taking(50 * time.Millisecond) })
		go func() { _, _ = s.Lookup(context.Background(), "k", nil) }()
		synctest.Wait()
		if _, err := s.Invalidate(t.Context(), Target{All: true}, "", ""); err != nil {
			t.Fatal(err)
		}
		time.Sleep(100 * time.Millisecond)
		wantEntry(t, s, "k", true, authz.LayerDatabase)
	})
}

func TestInvalidations_AreBoundedAndNewestFirst(t *testing.T) {
	s, err := New(Config{Database: cachetest.NewDatabase().Connect()})
	if err != nil {
		t.Fatal(err)
	}
	for i := range maxHistory + 10 {
		s.history.add(Invalidation{Dropped: i})
	}
	got := s.Invalidations(5000)
	if len(got) != maxHistory || got[0].Dropped != maxHistory+9 || got[maxHistory-1].Dropped != 10 {
		t.Errorf("%d remembered, from %d to %d", len(got), got[0].Dropped, got[len(got)-1].Dropped)
	}
}

func TestRoleScopes_FollowTheSameRules(t *testing.T) {
	bubble(t, func(t *testing.T, db *cachetest.Database, c *cachetest.Connection) {
		read := authz.Scopes{{Resource: "orders", Actions: []string{"read"}}}
		both := authz.Scopes{{Resource: "orders", Actions: []string{"create", "read"}}}
		db.CommitRole("reader", read)
		s := start(t, Config{Database: c})
		want := func(want authz.Scopes, reads int) {
			t.Helper()
			got, err := s.RoleScopes(t.Context(), &authz.Record{Roles: []string{"none", "reader"}}, authz.Need{})
			if err != nil || !reflect.DeepEqual(got, want) || db.RoleReads != reads {
				t.Fatalf("scopes %v, %v after %d queries; want %v after %d", got, err, db.RoleReads, want, reads)
			}
		}
		want(read, 2)
		want(read, 2)
		s.Changed(t.Context(), db.CommitRole("reader", both))
		want(both, 3)
		db.CommitRole("reader", read)
		time.Sleep(DefaultPoll)
		synctest.Wait()
		want(read, 4)
		// The role is deleted, in a change whose version is not known.
		db.Mu.Lock()
		delete(db.Roles, "reader")
		db.Mu.Unlock()
		s.Changed(t.Context(), []authz.Change{{Kind: authz.ChangeRole, Role: "reader"}})
		want(nil, 5)
	})
}

func TestUserKeys_AreDroppedByAnyChangeOfTheKeys(t *testing.T) {
	bubble(t, func(t *testing.T, db *cachetest.Database, c *cachetest.Connection) {
		s := start(t, Config{Database: c})
		record := authz.Record{
			ID: "id-k", UserID: "user-k", Name: "ключ", Prefix: "k", Active: true, CreatedAt: time.Now().UTC().Round(0),
			Roles: []string{"r"}, AllowedCIDRs: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, Metadata: map[string]string{"a": "b"},
			Rate: authz.Rate{Count: 5, Per: time.Second}, Version: 7,
		}
		loads := 0
		list := func(during func()) {
			t.Helper()
			got, err := s.UserKeys(t.Context(), "user-k", func(context.Context) ([]authz.Record, error) {
				loads++
				if during != nil {
					during()
				}
				return []authz.Record{record}, nil
			})
			if err != nil || !reflect.DeepEqual(got, []authz.Record{record}) {
				t.Fatalf("list %+v, %v", got, err)
			}
		}
		wantLoads := func(what string, want int) {
			t.Helper()
			if loads != want {
				t.Fatalf("%s: loaded %d times, want %d", what, loads, want)
			}
		}
		list(nil)
		list(nil)
		wantLoads("twice", 1)
		s.Changed(t.Context(), db.Commit("other", cachetest.Unchanged))
		list(nil)
		wantLoads("after another user's change", 1)
		s.Changed(t.Context(), db.Commit("k", cachetest.Renamed))
		list(func() { s.Changed(t.Context(), db.Commit("k", cachetest.Renamed)) })
		list(nil)
		wantLoads("after a change, and one during the load", 3)
		time.Sleep(freshness.AsOfSlack + DefaultPoll)
		synctest.Wait()
		list(nil)
		list(nil)
		wantLoads("once the feed has brought it", 4)
		c.Edit(func(c *cachetest.Connection) { c.Feed = failing(cachetest.ErrAway) })
		time.Sleep(DefaultLease)
		list(nil)
		wantLoads("without a lease", 5)
	})
}
