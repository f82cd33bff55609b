package cachesvc

import (
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"extauthz/authz"
	"extauthz/cachesvc/internal/cachetest"
)

func TestScopeAnswers_HoldWhatTheDatabaseHolds(t *testing.T) {
	pair(t, nil, func(t *testing.T, db *cachetest.Database, _ [2]*cachetest.Connection, w [2]*cachetest.Wire, s [2]*Service) {
		read := authz.Scopes{{Resource: "orders", Actions: []string{"read"}}}
		db.CommitRole("reader", read)
		time.Sleep(DefaultPoll)
		synctest.Wait()
		rec := &authz.Record{ID: "id-k", UserID: "user-k", Version: 1, Roles: []string{"none", "reader"}}
		want := func(i int, need authz.Need, scopes authz.Scopes, reads int) {
			t.Helper()
			before := db.RoleReads
			got, layer, err := s[i].RoleScopesFrom(t.Context(), rec, need)
			if err != nil || !reflect.DeepEqual(got, scopes) || db.RoleReads != reads || (layer == authz.LayerDatabase) != (reads > before) {
				t.Fatalf("scopes %v from %v, %v after %d queries; want %v after %d", got, layer, err, db.RoleReads, scopes, reads)
			}
			synctest.Wait()
		}
		orders, invoices := authz.Need{Resource: "orders", Action: "read"}, authz.Need{Resource: "invoices/eu", Action: "read"}
		want(0, orders, read, 2)
		if _, found, _ := w[0].Store.Get(t.Context(), "apikey:scope:id-k:orders:read"); !found {
			t.Error("no answer at apikey:scope:<key id>:<resource>:<action>")
		}
		want(1, orders, read, 2) // answered by the scope cache
		want(1, authz.Need{Resource: "orders/7", Action: "read", Captured: true}, read, 4)
		s[0].Changed(t.Context(), db.CommitRole("reader", nil))
		want(0, invoices, nil, 5) // a denial is cached too
		want(1, invoices, nil, 5)
		want(1, orders, nil, 6) // the cached answer is of an older version and is not trusted
		rec = &authz.Record{ID: "id-k", UserID: "user-k", Version: 2, Roles: []string{"reader"}}
		want(1, invoices, nil, 6)
	})
}

// TestScopeAnswers_CachedAndUncachedDecideAlike: while roles change, both replicas are
// asked whether random roles allow random needs. Each answer, computed or taken from the
// scope cache, must be the same as that of the roles themselves.
func TestScopeAnswers_CachedAndUncachedDecideAlike(t *testing.T) {
	pair(t, nil, func(t *testing.T, db *cachetest.Database, _ [2]*cachetest.Connection, _ [2]*cachetest.Wire, s [2]*Service) {
		r := rand.New(rand.NewPCG(1, 2))
		resources, actions := []string{"*", "orders", "orders/7", "orders/*", "invoices", "invoices/eu"}, []string{"*", "read", "write"}
		any := func(from []string) string { return from[r.IntN(len(from))] }
		now := map[string]authz.Scopes{}
		change := func(name string) {
			var text []string
			for range r.IntN(4) {
				text = append(text, any(resources)+":"+any(actions))
			}
			scopes, err := authz.ParseScopes(text)
			if err != nil {
				t.Fatal(err)
			}
			now[name] = scopes
			s[r.IntN(2)].Changed(t.Context(), db.CommitRole(name, scopes))
			time.Sleep(DefaultLease) // until the other replica knows the change
			synctest.Wait()
		}
		names := []string{"a", "b", "c"}
		for _, name := range names {
			change(name)
		}
		allowed := 0
		for range 2000 {
			if r.IntN(40) == 0 {
				change(any(names))
			}
			if r.IntN(3) == 0 { // so that the scope cache answers, and not L1
				s[r.IntN(2)].roles.dropAll()
			}
			rec := &authz.Record{ID: "id-" + any(names), UserID: "u", Version: 1, Roles: []string{any(names), any(names), "none"}}
			rec.ID += rec.Roles[0] + rec.Roles[1] // each set of roles has an id of its own, since a key's roles change only with its version
			need := authz.Need{Resource: any(resources[1:3]), Action: any(actions[1:])}
			if r.IntN(3) == 0 {
				need.Resource = "invoices/eu"
			}
			want := now[rec.Roles[0]].Union(now[rec.Roles[1]]).Allows(need.Resource, need.Action)
			for i := range s {
				got, err := s[i].RoleScopes(t.Context(), rec, need)
				if err != nil || got.Allows(need.Resource, need.Action) != want {
					t.Fatalf("replica %d returns %v, %v for %+v of %v; want %v", i, got, err, need, rec.Roles, want)
				}
			}
			if want {
				allowed++
			}
			synctest.Wait()
		}
		hits := s[0].sharedCounts.scopeHits.Load() + s[1].sharedCounts.scopeHits.Load()
		if hits < 100 || allowed < 200 || allowed > 1800 {
			t.Errorf("%d hits, %d allowed: too little was tested", hits, allowed)
		}
	})
}

func TestScopeAnswers_AreLimitedForEachKey(t *testing.T) {
	pair(t, nil, func(t *testing.T, db *cachetest.Database, _ [2]*cachetest.Connection, w [2]*cachetest.Wire, s [2]*Service) {
		db.CommitRole("reader", nil)
		rec := &authz.Record{ID: "id-k", UserID: "user-k", Version: 1, Roles: []string{"reader"}}
		for i := range scopeLimit + 500 {
			s[0].roles.drop("reader")
			if _, err := s[0].RoleScopes(t.Context(), rec, authz.Need{Resource: "r" + strings.Repeat("x", i%100) + string(rune('a'+i/100)), Action: "read"}); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		if n, err := w[0].Store.Count(t.Context(), scopeKeys); err != nil || n != scopeLimit {
			t.Errorf("%d answers are kept, %v; want %d", n, err, scopeLimit)
		}
	})
}
