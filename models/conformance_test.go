package models

import (
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"github.com/google/uuid"

	"extauthz/authz"
	"extauthz/e2e/parts"
)

var server *parts.Postgres // nil with -short, and outside of CI if Postgres is not installed

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(func() int {
		if !testing.Short() {
			p, stop, err := parts.RunPostgres()
			switch {
			case err == nil:
				server = p
				defer func() {
					if err := stop(); err != nil {
						fmt.Fprintln(os.Stderr, err)
					}
				}()
			case os.Getenv("CI") != "":
				fmt.Fprintln(os.Stderr, err)
				return 1
			}
		}
		defer func() { stopSecond() }()
		return m.Run()
	}())
}

// each runs a test with every driver, each time on an empty database.
func each(t *testing.T, test func(*testing.T, *DB)) {
	t.Helper()
	t.Run(SQLite, func(t *testing.T) { test(t, migrated(t, sqliteConfig(t))) })
	t.Run(Postgres, func(t *testing.T) { test(t, migrated(t, postgresConfig(t))) })
	t.Run("pgbouncer", func(t *testing.T) { test(t, migrated(t, pooledConfig(t, 3))) })
}

func sqliteConfig(t *testing.T) Config {
	t.Helper()
	return Config{Driver: SQLite, DSN: filepath.Join(t.TempDir(), "test.db")}
}

func postgresConfig(t *testing.T) Config {
	t.Helper()
	if server == nil {
		t.Skip("no Postgres: run scripts/install-parts.sh postgres, and without -short")
	}
	return Config{Driver: Postgres, DSN: server.NewDatabase(t)}
}

func opened(t *testing.T, c Config) *DB {
	t.Helper()
	db, err := Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

func migrated(t *testing.T, c Config) *DB {
	t.Helper()
	db := opened(t, c)
	if err := db.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	return db
}

var testTime = time.Date(2026, 11, 25, 12, 0, 0, 123456000, time.UTC)

func newKey(t *testing.T, edit func(*authz.Record)) authz.NewKey {
	t.Helper()
	f, err := authz.NewKeyFormat(authz.KeyFormatConfig{})
	if err != nil {
		t.Fatal(err)
	}
	peppers, err := authz.NewPeppers(nil)
	if err != nil {
		t.Fatal(err)
	}
	key, prefix, err := f.Generate("live", rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	s, err := authz.ParseScopes([]string{"orders:read"})
	if err != nil {
		t.Fatal(err)
	}
	id := uuid.Must(uuid.NewV7()).String()
	k := authz.NewKey{Verifier: peppers.Verifier(key), Record: authz.Record{ID: id, UserID: "u", Name: "n", Prefix: prefix, Scopes: s,
		Active: true, CreatedAt: testTime, UpdatedAt: testTime, Environment: "live", Family: id}}
	if edit != nil {
		edit(&k.Record)
	}
	return k
}

func insert(t *testing.T, db *DB, keys ...authz.NewKey) []authz.Record {
	t.Helper()
	recs, err := db.Mutate(t.Context(), authz.Selection{}, func([]authz.Record) (authz.Mutation, error) {
		return authz.Mutation{Create: keys}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return recs
}

func TestKeys_RoundTrip(t *testing.T) {
	each(t, func(t *testing.T, db *DB) {
		k := newKey(t, func(r *authz.Record) {
			r.Name, r.ExpiresAt, r.RevokedAt = "Café ☕ \x01", testTime.Add(time.Hour), testTime
			r.AllowedCIDRs = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
			r.Metadata, r.Roles, r.Project = map[string]string{"a": "b"}, []string{"x", "y"}, "p"
			r.Rate, r.RotatedFrom = authz.Rate{Count: 5, Per: time.Second}, "old"
			r.Grants = authz.Grants{Scopes: r.Scopes, Projects: []string{"*"}, Users: []string{"acme-*"}}
			r.ShadowUntil, r.ShadowEnd, r.ShadowScopes = testTime, testTime.Add(time.Hour), r.Scopes
		})
		created := insert(t, db, k)[0]
		if created.Version == 0 {
			t.Fatal("the trigger gave no version")
		}
		got, v, err := db.KeyByPrefix(t.Context(), k.Record.Prefix)
		if err != nil {
			t.Fatal(err)
		}
		k.Record.Version = created.Version
		if !reflect.DeepEqual(got, created) || fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", k.Record) {
			t.Errorf("got  %+v\nwant %+v", got, k.Record)
		}
		want, _ := k.Verifier.Digest.Bytes()
		if b, ok := v.Digest.Bytes(); !ok || b != want || v.Alg != authz.HashSHA256 {
			t.Error("the verifier is another one")
		}
		if _, err := db.KeyByRef(t.Context(), "unknown"); !errors.Is(err, authz.ErrNotFound) {
			t.Errorf("got %v", err)
		}
	})
}

func TestMutate_IsAllOrNothing(t *testing.T) {
	each(t, func(t *testing.T, db *DB) {
		k := newKey(t, nil)
		rec := insert(t, db, k)[0]
		boom := errors.New("boom")
		for name, fn := range map[string]func([]authz.Record) (authz.Mutation, error){
			"fn fails": func([]authz.Record) (authz.Mutation, error) { return authz.Mutation{}, boom },
			"prefix is taken": func(sel []authz.Record) (authz.Mutation, error) {
				sel[0].Name = "changed"
				return authz.Mutation{Create: []authz.NewKey{newKey(t, func(r *authz.Record) { r.Prefix = rec.Prefix })}, Update: sel}, nil
			},
			"role is missing": func(sel []authz.Record) (authz.Mutation, error) {
				sel[0].Name = "changed"
				return authz.Mutation{Update: sel, DeleteRoles: []string{"none"}}, nil
			},
		} {
			if _, err := db.Mutate(t.Context(), authz.Selection{Ref: rec.ID}, fn); err == nil {
				t.Errorf("%s: no error", name)
			}
			if got, err := db.KeyByRef(t.Context(), rec.Prefix); err != nil || !reflect.DeepEqual(got, rec) {
				t.Errorf("%s: something was written: %v, %v", name, got, err)
			}
		}
		if _, err := db.Mutate(t.Context(), authz.Selection{Refs: []string{rec.ID, "none"}}, nil); !errors.Is(err, authz.ErrNotFound) {
			t.Errorf("got %v", err)
		}
	})
}

func TestVersion_RisesOnlyWithDecisionRelevantColumns(t *testing.T) {
	each(t, func(t *testing.T, db *DB) {
		rec := insert(t, db, newKey(t, nil))[0]
		before := presentFeed(t, db)
		if len(before.Changes) != 1 || before.Changes[0].Prefix != rec.Prefix || before.Changes[0].At.IsZero() {
			t.Fatalf("got %+v", before)
		}
		last := rec.Version
		for _, c := range []struct {
			sql     string
			changes []string // prefixes or roles
		}{
			{"UPDATE api_keys SET updated_at = '2026-01-01 00:00:00+00:00'", nil},
			{"UPDATE api_keys SET name = name, scopes = scopes", nil},
			{"UPDATE api_keys SET revoked_at = '2026-01-01 00:00:00+00:00'", []string{rec.Prefix}},
			{"UPDATE api_keys SET user_id = 'other'", []string{rec.Prefix, rec.Prefix}},
			{"UPDATE api_keys SET key_prefix = 'ak_live_new'", []string{rec.Prefix, "ak_live_new"}},
			{"INSERT INTO roles (name, created_at, updated_at) VALUES ('r', '2026-01-01 00:00:00+00:00', '2026-01-01 00:00:00+00:00')", []string{"r"}},
			{"UPDATE roles SET scopes = '[]'", nil},
			{"UPDATE roles SET scopes = '[{\"resource\":\"a\",\"actions\":[\"b\"]}]'", []string{"r"}},
			{"DELETE FROM roles", []string{"r"}},
			{"DELETE FROM api_keys", []string{"ak_live_new"}},
		} {
			if err := db.gorm.Exec(c.sql).Error; err != nil {
				t.Fatalf("%s: %v", c.sql, err)
			}
			page := presentFeed(t, db)
			got := map[string]int{}
			for _, ch := range page.Changes {
				if ch.Version > last {
					got[ch.Prefix+ch.Role]++
				}
			}
			want := map[string]int{}
			for _, p := range c.changes {
				want[p]++
			}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("%s: got %v, want %v", c.sql, got, want)
			}
			for _, ch := range page.Changes {
				last = max(last, ch.Version)
			}
		}
	})
}

func TestVersion_SetByHandIsOverridden(t *testing.T) {
	each(t, func(t *testing.T, db *DB) {
		rec := insert(t, db, newKey(t, nil))[0]
		if err := db.gorm.Exec("UPDATE api_keys SET version = 1000000").Error; err != nil {
			t.Fatal(err)
		}
		got, err := db.KeyByRef(t.Context(), rec.ID)
		if err != nil || got.Version >= 1000000 {
			t.Errorf("got %d, %v", got.Version, err)
		}
	})
}

func TestIdempotency_CreatesOnce(t *testing.T) {
	each(t, func(t *testing.T, db *DB) {
		create := func(fingerprint string) (string, error) {
			k := newKey(t, nil)
			_, err := db.Mutate(context.WithoutCancel(t.Context()), authz.Selection{}, func([]authz.Record) (authz.Mutation, error) {
				return authz.Mutation{Create: []authz.NewKey{k}, Idempotency: &authz.Idempotency{Principal: "p", Key: "k",
					Fingerprint: []byte(fingerprint), KeyID: k.Record.ID, At: testTime}}, nil
			})
			return k.Record.ID, err
		}
		errs := make(chan error, 8)
		for range cap(errs) {
			go func() { _, err := create("same"); errs <- err }()
		}
		created := 0
		for range cap(errs) {
			err := <-errs
			var replay *authz.IdempotencyError
			switch {
			case err == nil:
				created++
			case !errors.As(err, &replay) || replay.KeyID == "":
				t.Errorf("got %v", err)
			}
		}
		if created != 1 {
			t.Errorf("%d were created", created)
		}
		if _, err := create("another"); !errors.Is(err, authz.ErrIdempotencyReuse) {
			t.Errorf("got %v", err)
		}
	})
}
