package models

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"extauthz/authz"
	"extauthz/authz/keyring"
)

type noNotifier struct{}

func (noNotifier) Changed(context.Context, []authz.Change) {}

var system = keyring.Principal{System: true, Source: "192.0.2.7"}

func keysOn(t *testing.T, db *DB) (*keyring.Service, *authz.KeyFormat) {
	t.Helper()
	format, err := authz.NewKeyFormat(authz.KeyFormatConfig{})
	if err != nil {
		t.Fatal(err)
	}
	peppers, err := authz.NewPeppers(nil)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := keyring.New(keyring.Config{Format: format, Peppers: func() *authz.Peppers { return peppers }, Random: rand.Reader,
		Now: time.Now, Store: db, Notifier: noNotifier{}, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return keys, format
}

func recovered(t *testing.T, keys *keyring.Service, format *authz.KeyFormat, endOthers bool) (made authz.Record, ended []authz.Record) {
	t.Helper()
	key, _, err := format.Generate("live", rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	made, ended, err = keys.Recover(t.Context(), keyring.Recovery{Key: key, By: "operator@here", EndOthers: endOthers})
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

// endings returns the ways to make a key no longer an administrator.
func endings(t *testing.T, keys *keyring.Service) map[string]func(admin authz.Record) error {
	update := func(ref string, patch keyring.Patch) error {
		_, err := keys.Update(t.Context(), system, ref, patch)
		return err
	}
	soon, none := time.Now().Add(time.Hour), authz.Scopes{}
	everything := authz.Grants{Scopes: parsed(t, "*:*"), Projects: []string{"*"}, Users: []string{"a"}}
	return map[string]func(authz.Record) error{
		"revoke": func(a authz.Record) error {
			_, err := keys.Revoke(t.Context(), system, []string{a.ID}, keyring.RevokeOptions{})
			return err
		},
		"revoke alone": func(a authz.Record) error {
			_, err := keys.Revoke(t.Context(), system, []string{a.Prefix}, keyring.RevokeOptions{OnlyThis: true})
			return err
		},
		"revoke the user": func(a authz.Record) error {
			_, err := keys.RevokeUser(t.Context(), system, a.UserID, keyring.RevokeOptions{})
			return err
		},
		"disable": func(a authz.Record) error {
			_, err := keys.Disable(t.Context(), system, a.ID)
			return err
		},
		"let expire":  func(a authz.Record) error { return update(a.ID, keyring.Patch{ExpiresAt: &soon}) },
		"take scopes": func(a authz.Record) error { return update(a.ID, keyring.Patch{Scopes: &none}) },
		"narrow scopes": func(a authz.Record) error {
			s := parsed(t, "extauthz/keys:*")
			return update(a.ID, keyring.Patch{Scopes: &s})
		},
		"take grants":     func(a authz.Record) error { return update(a.ID, keyring.Patch{Grants: &authz.Grants{}}) },
		"bound to a user": func(a authz.Record) error { return update(a.ID, keyring.Patch{Grants: &everything}) },
		"other networks": func(a authz.Record) error {
			return update(a.ID, keyring.Patch{AllowedCIDRs: &[]netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")}})
		},
		"rotate to one that expires": func(a authz.Record) error {
			_, err := keys.Rotate(t.Context(), system, a.ID, keyring.RotateOptions{ExpiresAt: &soon})
			return err
		},
	}
}

// TestGuard_LastAdministratorStays: each way to end the last administrator is refused and
// writes nothing. It is allowed as soon as there is another administrator.
func TestGuard_LastAdministratorStays(t *testing.T) {
	each(t, func(t *testing.T, db *DB) {
		keys, format := keysOn(t, db)
		last, _ := recovered(t, keys, format, false)
		for name, end := range endings(t, keys) {
			before := rowOf(t, db, last.ID)
			err := end(last)
			if !errors.Is(err, keyring.ErrLastAdministrator) || strings.Contains(err.Error(), "\n") || !strings.Contains(err.Error(), "admin recover") {
				t.Errorf("%s: %v", name, err)
			}
			if after := rowOf(t, db, last.ID); after.Version != before.Version {
				t.Errorf("%s: the key was written", name)
			}
		}
		// A key that expires, is bound to a project or has a pepper that is gone does not
		// count as another administrator.
		weak := insert(t, db, newKey(t, func(r *authz.Record) {
			r.Scopes, r.Grants, r.ExpiresAt = last.Scopes, last.Grants, time.Now().Add(time.Hour)
		}), newKey(t, func(r *authz.Record) {
			r.Scopes, r.Grants = last.Scopes, authz.Grants{Scopes: last.Grants.Scopes, Projects: []string{"a"}}
		}),
			newKey(t, func(r *authz.Record) { r.Scopes, r.Grants = last.Scopes, last.Grants }))
		run(t, db, `UPDATE api_keys SET hash_alg = 'hmac-sha256', pepper_id = 'gone' WHERE id = ?`, weak[2].ID)
		for name, end := range endings(t, keys) {
			if err := end(last); !errors.Is(err, keyring.ErrLastAdministrator) {
				t.Errorf("%s beside weak ones: %v", name, err)
			}
		}
		for name := range endings(t, keys) {
			next, _ := recovered(t, keys, format, false)
			run(t, db, `UPDATE api_keys SET user_id = ? WHERE id = ?`, "administrator "+next.ID, next.ID)
			if err := endings(t, keys)[name](last); err != nil {
				t.Errorf("%s beside another one: %v", name, err)
			}
			run(t, db, `UPDATE api_keys SET is_active = FALSE WHERE id = ?`, last.ID)
			last = next
			last.UserID = "administrator " + next.ID
		}
	})
}

// TestGuard_RotationKeepsOne: the successor counts at once, and is then the last
// administrator.
func TestGuard_RotationKeepsOne(t *testing.T) {
	each(t, func(t *testing.T, db *DB) {
		keys, format := keysOn(t, db)
		last, _ := recovered(t, keys, format, false)
		rotated, err := keys.Rotate(t.Context(), system, last.ID, keyring.RotateOptions{Grace: new(time.Duration)})
		if err != nil {
			t.Fatal(err)
		}
		again, err := keys.Rotate(t.Context(), system, rotated.Record.ID, keyring.RotateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for _, options := range []keyring.RevokeOptions{{}, {OnlyThis: true}} {
			if _, err := keys.Revoke(t.Context(), system, []string{again.Record.ID}, options); !errors.Is(err, keyring.ErrLastAdministrator) {
				t.Errorf("%+v: %v", options, err)
			}
		}
		if _, err := keys.Revoke(t.Context(), system, []string{again.Old.ID}, keyring.RevokeOptions{OnlyThis: true}); err != nil {
			t.Errorf("the old one: %v", err)
		}
	})
}

// TestGuard_RolesThatLendIt: a change of a role can end a key that is an administrator
// through that role.
func TestGuard_RolesThatLendIt(t *testing.T) {
	each(t, func(t *testing.T, db *DB) {
		keys, format := keysOn(t, db)
		first, _ := recovered(t, keys, format, false)
		if _, err := keys.CreateRole(t.Context(), system, authz.Role{Name: "owner", Scopes: parsed(t, "extauthz:*")}); err != nil {
			t.Fatal(err)
		}
		byRole := insert(t, db, newKey(t, func(r *authz.Record) { r.Roles, r.Grants = []string{"owner"}, first.Grants }))[0]
		if _, err := keys.Revoke(t.Context(), system, []string{first.ID}, keyring.RevokeOptions{}); err != nil {
			t.Fatalf("beside one by a role: %v", err)
		}
		narrow := parsed(t, "extauthz/keys:read")
		for name, end := range map[string]func() error{
			"delete the role": func() error { return keys.DeleteRole(t.Context(), system, "owner", 0) },
			"narrow the role": func() error {
				_, err := keys.UpdateRole(t.Context(), system, "owner", keyring.RolePatch{Scopes: &narrow})
				return err
			},
			"take the role": func() error {
				_, err := keys.Update(t.Context(), system, byRole.ID, keyring.Patch{Roles: &[]string{}})
				return err
			},
			"disable": func() error { _, err := keys.Disable(t.Context(), system, byRole.ID); return err },
		} {
			if err := end(); !errors.Is(err, keyring.ErrLastAdministrator) {
				t.Errorf("%s: %v", name, err)
			}
		}
		recovered(t, keys, format, false)
		if err := keys.DeleteRole(t.Context(), system, "owner", 0); err != nil {
			t.Errorf("beside another one: %v", err)
		}
	})
}

// TestGuard_TwoEndEachOther: two administrators end each other at the same time, through
// two replicas, by every pair of ways. One of them stays.
func TestGuard_TwoEndEachOther(t *testing.T) {
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
			ways := []string{"revoke", "disable", "let expire", "take grants"}
			for round := range 24 {
				run(t, dbs[0], `UPDATE api_keys SET is_active = FALSE, revoked_at = ?`, testTime)
				var admins []authz.Record
				var services []*keyring.Service
				for _, db := range dbs {
					keys, format := keysOn(t, db)
					admin, _ := recovered(t, keys, format, false)
					admins, services = append(admins, admin), append(services, keys)
				}
				var together sync.WaitGroup
				errs := make([]error, len(dbs))
				for i := range dbs {
					together.Go(func() { errs[i] = endings(t, services[i])[ways[(round+i*round/4)%len(ways)]](admins[1-i]) })
				}
				together.Wait()
				refused := 0
				for _, err := range errs {
					if errors.Is(err, keyring.ErrLastAdministrator) {
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

// TestRecover_EndsTheOthers: that includes keys whose rows can't be read. Each gets an
// audit row.
func TestRecover_EndsTheOthers(t *testing.T) {
	each(t, func(t *testing.T, db *DB) {
		keys, format := keysOn(t, db)
		lost, _ := recovered(t, keys, format, false)
		damaged, _ := recovered(t, keys, format, false)
		insert(t, db, newKey(t, nil))
		run(t, db, `UPDATE api_keys SET scopes = '["extauthz:*"' WHERE id = ?`, damaged.ID)
		made, ended := recovered(t, keys, format, true)
		if len(ended) != 2 || ended[0].RevokedAt.IsZero() || ended[1].RevokedAt.IsZero() {
			t.Errorf("ended %+v", ended)
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
			seen[e.KeyID] = e.Action
		}
		if seen[made.ID] != "key.create" || seen[lost.ID] != "key.revoke" || seen[damaged.ID] != "key.revoke" {
			t.Errorf("audit of %v", seen)
		}
	})
}
