package models

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"net/netip"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"extauthz/authz"
	"extauthz/authz/administrators"
	"extauthz/authz/keyring"
)

type noNotifier struct{}

func (noNotifier) Changed(context.Context, []authz.Change) {}

var system = keyring.Principal{System: true, Source: "192.0.2.7"}

func administratorsOn(t *testing.T, db *DB) (*administrators.Service, *authz.KeyFormat) {
	t.Helper()
	format, err := authz.NewKeyFormat(authz.KeyFormatConfig{})
	if err != nil {
		t.Fatal(err)
	}
	peppers, err := authz.NewPeppers(nil)
	if err != nil {
		t.Fatal(err)
	}
	admins, err := administrators.New(administrators.Config{Format: format, Peppers: func() *authz.Peppers { return peppers }, Random: rand.Reader,
		Now: time.Now, Store: db, Notifier: noNotifier{}, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return admins, format
}

func recovered(t *testing.T, admins *administrators.Service, format *authz.KeyFormat, endOthers bool) (made administrators.Made, ended []string) {
	t.Helper()
	key, _, err := format.Generate("live", rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	made, ended, err = admins.Recover(t.Context(), administrators.Recovery{Key: key, By: "operator@here", EndOthers: endOthers})
	if err != nil {
		t.Fatal(err)
	}
	return made, ended
}

func parsed(t *testing.T, texts ...string) authz.Scopes {
	t.Helper()
	s, err := authz.ParseScopes(texts)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func digestOf(k authz.NewKey) [authz.DigestSize]byte {
	digest, _ := k.Verifier.Digest.Bytes()
	return digest
}

// TestAdministration_RoundTrip: what is written is what is read, by each way of reading it.
func TestAdministration_RoundTrip(t *testing.T) {
	each(t, func(t *testing.T, db *DB) {
		if has, err := db.HasAdministrator(t.Context()); has || err != nil {
			t.Errorf("an empty database: %t, %v", has, err)
		}
		key := newKey(t, nil)
		key.Record.Family = key.Record.ID
		role := authz.AdministratorRole{Name: "revoker", Description: "d", Permissions: parsed(t, "extauthz/keys:read,revoke"), CreatedAt: testTime, UpdatedAt: testTime, Version: 1}
		one := authz.Administrator{ID: "0198c0de-7a3b-7c1d-9e2f-5b6a7c8d9e0f", Name: "carol@example.com", Description: "Ca\u0301rol", Roles: []string{"issuer", "revoker"},
			Grants:   authz.Grants{Scopes: parsed(t, "orders:*"), Projects: []string{"shop"}, Users: []string{"acme-*"}},
			Networks: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}, ExpiresAt: testTime.Add(time.Hour), Active: true, Family: key.Record.Family,
			CreatedBy: "bootstrap", CreatedAt: testTime, UpdatedAt: testTime, Version: 1}
		two := authz.Administrator{ID: "0198c0de-7a3b-7c1d-9e2f-5b6a7c8d9e10", Name: "two", CreatedAt: testTime, UpdatedAt: testTime, Version: 1}
		change := func(c authz.AdministrationChange) {
			t.Helper()
			if _, err := db.ChangeAdministration(t.Context(), func(authz.Administration) (authz.AdministrationChange, error) { return c, nil }); err != nil {
				t.Fatal(err)
			}
		}
		see := func(admins []authz.Administrator, roles []authz.AdministratorRole, keys int) authz.Administration {
			t.Helper()
			a, err := db.Administration(t.Context())
			if err != nil || !reflect.DeepEqual(a.Administrators, admins) || !reflect.DeepEqual(a.Roles, roles) || len(a.Keys) != keys {
				t.Errorf("got %+v, %v", a, err)
			}
			return a
		}
		insert(t, db, newKey(t, nil)) // of no administrator
		change(authz.AdministrationChange{Put: []authz.Administrator{one, two}, PutRoles: []authz.AdministratorRole{role}, CreateKeys: []authz.NewKey{key},
			Audit: []authz.AuditEntry{{ID: "0198c0de-7a3b-7c1d-9e2f-5b6a7c8d9e11", At: testTime, Actor: "a", Action: "admin.create", Administrator: one.ID}}})
		a := see([]authz.Administrator{one, two}, []authz.AdministratorRole{role}, 1)
		if k := a.Keys[0]; k.Record.Prefix != key.Record.Prefix || digestOf(k) != digestOf(key) || k.Record.Version == 0 {
			t.Errorf("key %+v", k)
		}
		of, err := db.AdministratorOf(t.Context(), key.Record.Family)
		if err != nil || !reflect.DeepEqual(of.Administrators, []authz.Administrator{one}) || !reflect.DeepEqual(of.Roles, []authz.AdministratorRole{role}) {
			t.Errorf("of the family: %+v, %v", of, err)
		}
		for _, family := range []string{"", "absent", "\x00"} {
			if _, err := db.AdministratorOf(t.Context(), family); !errors.Is(err, authz.ErrNotFound) {
				t.Errorf("of %q: %v", family, err)
			}
		}
		if names, err := db.AdministratorsOf(t.Context(), []string{key.Record.Family, "absent", "", "\x00"}); err != nil || len(names) != 1 || names[key.Record.Family] != one.Name {
			t.Errorf("families: %v, %v", names, err)
		}
		if entries, err := db.ListAudit(t.Context(), authz.AuditFilter{Administrator: one.ID, Limit: 5}); err != nil || len(entries) != 1 || entries[0].Administrator != one.ID {
			t.Errorf("audit: %+v, %v", entries, err)
		}
		one.Name, one.Networks, one.ExpiresAt, one.Active, one.Version = "carol", nil, time.Time{}, false, 2
		role.Description, role.Version = "", 2
		change(authz.AdministrationChange{Put: []authz.Administrator{one}, Delete: []string{two.ID}, PutRoles: []authz.AdministratorRole{role}})
		see([]authz.Administrator{one}, []authz.AdministratorRole{role}, 1)
		change(authz.AdministrationChange{DeleteRoles: []string{role.Name}})
		see([]authz.Administrator{one}, []authz.AdministratorRole{}, 1)
		refused := errors.New("refused")
		if _, err := db.ChangeAdministration(t.Context(), func(authz.Administration) (authz.AdministrationChange, error) {
			return authz.AdministrationChange{Delete: []string{one.ID}}, refused
		}); !errors.Is(err, refused) {
			t.Error(err)
		}
		see([]authz.Administrator{one}, []authz.AdministratorRole{}, 1)
	})
}

// TestAdministration_KeepsWhatCanNotBeRead: a row that was edited by hand is shown as such,
// hides no other one, and is written but for its state.
func TestAdministration_KeepsWhatCanNotBeRead(t *testing.T) {
	each(t, func(t *testing.T, db *DB) {
		admins, format := administratorsOn(t, db)
		first, _ := recovered(t, admins, format, false)
		second, _ := recovered(t, admins, format, false)
		for column, text := range map[string]string{"roles": "owner", "grants": "[]", "allowed_cidrs": `["office"]`} {
			run(t, db, `UPDATE administrators SET roles = '["owner"]', grants = '{}', allowed_cidrs = '[]' WHERE id = ?`, second.Administrator.ID)
			run(t, db, `UPDATE administrators SET `+column+` = ? WHERE id = ?`, text, second.Administrator.ID)
			got, err := admins.Get(t.Context(), system, second.Administrator.ID)
			if err != nil || !strings.Contains(got.Administrator.Unreadable, "column "+column) || len(got.Permissions) != 0 {
				t.Errorf("%s: got %+v, %v", column, got, err)
			}
			if _, err := admins.Principal(t.Context(), &second.Keys[0], netip.Addr{}); !errors.Is(err, authz.ErrUnreadable) {
				t.Errorf("%s: %v", column, err)
			}
			if _, err := admins.Disable(t.Context(), system, second.Administrator.ID); err != nil {
				t.Errorf("%s: %v", column, err)
			}
			var stored string
			if err := db.gorm.Raw(`SELECT `+column+` FROM administrators WHERE id = ?`, second.Administrator.ID).Row().Scan(&stored); err != nil || stored != text {
				t.Errorf("%s: stored %q, %v", column, stored, err)
			}
			run(t, db, `UPDATE administrators SET is_active = TRUE WHERE id = ?`, second.Administrator.ID)
		}
		if err := admins.Remove(t.Context(), system, second.Administrator.ID, "", 0); err != nil {
			t.Error(err)
		}
		third, _ := recovered(t, admins, format, false) // with a key that can't be read: it is taken out of service too
		run(t, db, `UPDATE api_keys SET scopes = '["orders:*"' WHERE id = ?`, third.Keys[0].ID)
		if _, err := admins.Disable(t.Context(), system, third.Administrator.ID); err != nil {
			t.Error(err)
		}
		if row := rowOf(t, db, third.Keys[0].ID); row.IsActive || row.Scopes != `["orders:*"` {
			t.Errorf("the key of a disabled one: %+v", row)
		}
		run(t, db, `UPDATE api_keys SET scopes = '["orders:*"' WHERE id = ?`, first.Keys[0].ID)
		if has, err := admins.HasOwner(t.Context()); has || err != nil {
			t.Errorf("with a damaged key: %t, %v", has, err)
		}
	})
}

// endings are the ways to take the management from an administrator.
func endings(t *testing.T, admins *administrators.Service) map[string]func(ref string) error {
	return map[string]func(string) error{
		"remove":  func(ref string) error { return admins.Remove(t.Context(), system, ref, "", 0) },
		"disable": func(ref string) error { _, err := admins.Disable(t.Context(), system, ref); return err },
		"let expire": func(ref string) error {
			_, err := admins.Update(t.Context(), system, ref, administrators.Patch{ExpiresAt: new(time.Now().Add(time.Hour))})
			return err
		},
		"take grants": func(ref string) error {
			_, err := admins.Update(t.Context(), system, ref, administrators.Patch{Grants: &authz.Grants{}})
			return err
		},
	}
}

// TestLastOwner_Stays: each way to end it is refused, writes nothing, and is allowed as
// soon as there is another one.
func TestLastOwner_Stays(t *testing.T) {
	each(t, func(t *testing.T, db *DB) {
		admins, format := administratorsOn(t, db)
		last, _ := recovered(t, admins, format, false)
		for name, end := range endings(t, admins) {
			before := rowOf(t, db, last.Keys[0].ID)
			err := end(last.Administrator.ID)
			if !errors.Is(err, administrators.ErrLastOwner) || strings.Contains(err.Error(), "\n") || !strings.Contains(err.Error(), "admin recover") {
				t.Errorf("%s: %v", name, err)
			}
			if got, err := admins.Get(t.Context(), system, last.Administrator.ID); err != nil || got.Administrator.Version != last.Administrator.Version || rowOf(t, db, last.Keys[0].ID).Version != before.Version {
				t.Errorf("%s: it was written: %+v, %v", name, got, err)
			}
		}
		for name, end := range endings(t, admins) {
			next, _ := recovered(t, admins, format, false)
			if err := end(last.Administrator.ID); err != nil {
				t.Errorf("%s beside another one: %v", name, err)
			}
			run(t, db, `UPDATE administrators SET is_active = FALSE WHERE id <> ?`, next.Administrator.ID)
			last = next
		}
	})
}

// TestLastOwner_TwoEndEachOther: at the same time, by two replicas, in every pairing of
// ways; one of them stays.
func TestLastOwner_TwoEndEachOther(t *testing.T) {
	configs := map[string]func(*testing.T) Config{SQLite: sqliteConfig, Postgres: postgresConfig,
		"repeatable read": func(t *testing.T) Config {
			c := postgresConfig(t)
			c.DSN += "&default_transaction_isolation=" + "repeatable%20read"
			return c
		}}
	for name, config := range configs {
		t.Run(name, func(t *testing.T) {
			c := config(t)
			dbs := []*DB{migrated(t, c), opened(t, c)}
			ways := []string{"remove", "disable", "let expire", "take grants"}
			for round := range 24 {
				run(t, dbs[0], `DELETE FROM administrators`)
				var owners []string
				var services []*administrators.Service
				for _, db := range dbs {
					admins, format := administratorsOn(t, db)
					made, _ := recovered(t, admins, format, false)
					owners, services = append(owners, made.Administrator.ID), append(services, admins)
				}
				var together sync.WaitGroup
				errs := make([]error, len(dbs))
				for i := range dbs {
					together.Go(func() { errs[i] = endings(t, services[i])[ways[(round+i*round/4)%len(ways)]](owners[1-i]) })
				}
				together.Wait()
				refused := 0
				for _, err := range errs {
					if errors.Is(err, administrators.ErrLastOwner) {
						refused++
					} else if err != nil {
						t.Errorf("round %d: %v", round, err)
					}
				}
				if has, err := services[0].HasOwner(t.Context()); err != nil || !has || refused != 1 {
					t.Fatalf("round %d: an owner is left: %t, %v; %d were refused: %v", round, has, err, refused, errs)
				}
			}
		})
	}
}

func TestBootstrap_ConcurrentStartsMakeOneAdministrator(t *testing.T) {
	each(t, func(t *testing.T, db *DB) {
		admins, _ := administratorsOn(t, db)
		var together sync.WaitGroup
		made := make([]bool, 4)
		for i := range made {
			together.Go(func() {
				var err error
				if _, made[i], err = admins.Bootstrap(t.Context(), authz.Secret{}); err != nil {
					t.Error(err)
				}
			})
		}
		together.Wait()
		n := 0
		for _, m := range made {
			if m {
				n++
			}
		}
		if a, err := db.Administration(t.Context()); n != 1 || err != nil || len(a.Administrators) != 1 || len(a.Keys) != 1 {
			t.Errorf("%d were made: %+v, %v", n, a, err)
		}
	})
}

// TestRecover_EndsTheOthers: those that can't be read too, with their keys.
func TestRecover_EndsTheOthers(t *testing.T) {
	each(t, func(t *testing.T, db *DB) {
		admins, format := administratorsOn(t, db)
		lost, _ := recovered(t, admins, format, false)
		damaged, _ := recovered(t, admins, format, false)
		other := insert(t, db, newKey(t, nil))[0]
		run(t, db, `UPDATE administrators SET roles = 'x' WHERE id = ?`, damaged.Administrator.ID)
		run(t, db, `UPDATE api_keys SET scopes = '["orders:*"' WHERE id = ?`, damaged.Keys[0].ID)
		made, ended := recovered(t, admins, format, true)
		if len(ended) != 2 {
			t.Errorf("ended %v", ended)
		}
		for _, id := range []string{lost.Keys[0].ID, damaged.Keys[0].ID} {
			if rec, err := db.KeyByRef(t.Context(), id); err != nil || rec.RevokedAt.IsZero() {
				t.Errorf("key %s: %+v, %v", id, rec, err)
			}
		}
		if rec, err := db.KeyByRef(t.Context(), other.ID); err != nil || !rec.RevokedAt.IsZero() {
			t.Errorf("another's key: %+v, %v", rec, err)
		}
		entries, err := db.ListAudit(t.Context(), authz.AuditFilter{Limit: 3})
		if err != nil {
			t.Fatal(err)
		}
		seen := map[string]string{}
		for _, e := range entries {
			if e.Actor != "admin recover" || e.ActorName != "admin recover: operator@here" || e.Source != "local" {
				t.Errorf("audit %+v", e)
			}
			seen[e.Administrator] = e.Action
		}
		if seen[made.Administrator.ID] != "admin.create" || seen[lost.Administrator.ID] != "admin.remove" || seen[damaged.Administrator.ID] != "admin.remove" {
			t.Errorf("audit of %v", seen)
		}
	})
}
