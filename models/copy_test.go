package models

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"extauthz/authz"
)

// eachWay runs a test for each direction of a copy, with a migrated source and the
// configuration of an empty target.
func eachWay(t *testing.T, test func(t *testing.T, from *DB, to Config)) {
	t.Helper()
	databases := map[string]func(*testing.T) Config{SQLite: sqliteConfig, Postgres: postgresConfig,
		"pgbouncer": func(t *testing.T) Config { return pooledConfig(t, 5) }}
	for _, way := range [][2]string{{SQLite, Postgres}, {"pgbouncer", SQLite}, {SQLite, SQLite}, {Postgres, "pgbouncer"}} {
		t.Run(way[0]+" to "+way[1], func(t *testing.T) {
			test(t, migrated(t, databases[way[0]](t)), databases[way[1]](t))
		})
	}
}

// openedToCopy opens a database in the way a copy opens its source.
func openedToCopy(t *testing.T, db *DB) *DB {
	t.Helper()
	if db.driver == Postgres {
		return db
	}
	var file string
	if err := db.read.Raw("SELECT file FROM pragma_database_list WHERE name = 'main'").Row().Scan(&file); err != nil {
		t.Fatal(err)
	}
	from, err := OpenSource(t.Context(), Config{Driver: SQLite, DSN: file})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = from.Close() })
	return from
}

func copied(t *testing.T, from, to *DB) map[string]CopiedTable {
	t.Helper()
	tables, err := Copy(t.Context(), openedToCopy(t, from), to, nil)
	if err != nil {
		t.Fatal(err)
	}
	byName := map[string]CopiedTable{}
	for _, c := range tables {
		if !c.Same() {
			t.Errorf("%+v", c)
		}
		byName[c.Table] = c
	}
	return byName
}

// populate writes rows of every kind.
func populate(t *testing.T, db *DB) (keys []authz.NewKey) {
	t.Helper()
	keys = []authz.NewKey{
		newKey(t, func(r *authz.Record) {
			r.Name, r.Metadata = "Café ☕ 東京 \u202e '\";\\ \x01", map[string]string{"long": strings.Repeat("m", 50_000), "ünï": "☃"}
			r.ExpiresAt, r.Roles, r.Rate = testTime.Add(time.Hour), []string{"reader"}, authz.Rate{Count: 5, Per: time.Second}
			r.Grants = authz.Grants{Scopes: r.Scopes, Projects: []string{"*"}, Users: []string{"acme-*"}}
			r.ShadowUntil, r.ShadowEnd, r.ShadowScopes = testTime, testTime.Add(time.Hour), r.Scopes
		}),
		newKey(t, func(r *authz.Record) { r.RevokedAt, r.Active = testTime, false }),
		newKey(t, func(r *authz.Record) { r.Active = false }),
		newKey(t, func(r *authz.Record) {
			r.CreatedAt = time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC)
			r.UpdatedAt = time.Date(9999, 12, 31, 23, 59, 59, 999999000, time.UTC)
		}),
		newKey(t, nil),
	}
	for i := range 40 { // enough ids that orders by language and by bytes differ
		keys = append(keys, newKey(t, func(r *authz.Record) { r.ID = fmt.Sprintf("%c-%d_É", 'A'+i%26+32*(i%2), i) }))
	}
	insert(t, db, keys...)
	if _, err := db.Mutate(t.Context(), authz.Selection{}, func([]authz.Record) (authz.Mutation, error) {
		return authz.Mutation{PutRoles: []authz.Role{{Name: "reader", Description: "reads", Scopes: keys[0].Record.Scopes, CreatedAt: testTime, UpdatedAt: testTime}},
			Create:      []authz.NewKey{newKey(t, nil)},
			Idempotency: &authz.Idempotency{Principal: "admin", Key: "order-4711", Fingerprint: []byte{0, 255, 'x'}, KeyID: keys[0].Record.ID, At: testTime},
			Audit: []authz.AuditEntry{{ID: "a", At: testTime, Actor: "admin", Action: "key.create", Detail: map[string]string{"name": " -> x"}},
				{ID: "B", At: testTime, Actor: "admin", Action: "key.create"}}}, nil
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := db.AddUsage(t.Context(), []authz.UsageBatch{{Source: "s", Sequence: 7, Usage: []authz.Usage{{KeyID: keys[0].Record.ID, Count: 12, LastUsedAt: testTime}}}}); err != nil {
		t.Fatal(err)
	}
	run(t, db, "UPDATE api_keys SET scopes = '[\"orders:read\"]' WHERE id = ?", keys[4].Record.ID)
	run(t, db, "UPDATE api_keys SET scopes = 'no JSON' WHERE id = ?", keys[5].Record.ID)
	return keys
}

func TestCopy_EverythingArrives(t *testing.T) {
	eachWay(t, func(t *testing.T, from *DB, into Config) {
		keys := populate(t, from)
		to := opened(t, into)
		if from.driver == Postgres { // most servers order text by a language, not by its bytes
			run(t, from, `ALTER TABLE api_keys ALTER COLUMN id TYPE TEXT COLLATE "en-x-icu"`)
		}
		tables := copied(t, from, to)
		for table, rows := range map[string]int64{"api_keys": 46, "roles": 1, "key_usage": 1, "usage_marks": 1, "idempotency_keys": 1, "audit_log": 2} {
			if got := tables[table]; got.Rows != rows || got.Written != rows || got.TargetRows != rows {
				t.Errorf("%+v, want %d rows", got, rows)
			}
		}
		var highest uint64
		for _, k := range keys {
			want, wantVerifier, wantErr := from.KeyByPrefix(t.Context(), k.Record.Prefix)
			got, verifier, err := to.KeyByPrefix(t.Context(), k.Record.Prefix)
			if (err == nil) != (wantErr == nil) || fmt.Sprint(err) != fmt.Sprint(wantErr) {
				t.Fatalf("got %v, want %v", err, wantErr)
			}
			if wantErr == nil && got.Version <= want.Version {
				t.Errorf("version %d is not beyond %d", got.Version, want.Version)
			}
			highest = max(highest, want.Version)
			want.Version, got.Version = 0, 0
			a, _ := wantVerifier.Digest.Bytes()
			b, _ := verifier.Digest.Bytes()
			if !reflect.DeepEqual(got, want) || a != b || verifier.Alg != wantVerifier.Alg || verifier.PepperID != wantVerifier.PepperID {
				t.Errorf("got  %+v\nwant %+v", got, want)
			}
		}
		usage, err := to.Usage(t.Context(), []string{keys[0].Record.ID})
		if err != nil || len(usage) != 1 || usage[0].Count != 12 || !usage[0].LastUsedAt.Equal(testTime) {
			t.Errorf("usage %+v, %v", usage, err)
		}
		if added, err := to.AddUsage(t.Context(), []authz.UsageBatch{{Source: "s", Sequence: 7, Usage: []authz.Usage{{KeyID: "x", Count: 1, LastUsedAt: testTime}}}}); err != nil || added != 0 {
			t.Errorf("a batch was added again: %d, %v", added, err)
		}
		audit, err := to.ListAudit(t.Context(), authz.AuditFilter{Limit: 10})
		if err != nil || len(audit) != 2 || audit[0].ID != "a" || audit[0].Detail["name"] != " -> x" {
			t.Errorf("audit %+v, %v", audit, err)
		}
		var replayed *authz.IdempotencyError
		_, err = to.Mutate(t.Context(), authz.Selection{}, func([]authz.Record) (authz.Mutation, error) {
			return authz.Mutation{Create: []authz.NewKey{newKey(t, nil)},
				Idempotency: &authz.Idempotency{Principal: "admin", Key: "order-4711", Fingerprint: []byte{0, 255, 'x'}, At: testTime}}, nil
		})
		if !errors.As(err, &replayed) || replayed.KeyID != keys[0].Record.ID {
			t.Errorf("the idempotency key is not known: %v", err)
		}
		page, before := presentFeed(t, to), presentFeed(t, from)
		if page.Epoch == before.Epoch || len(page.Changes) != 0 || page.Version <= before.Version {
			t.Errorf("the target's feed: epoch %s after %s, %d changes, version %d", page.Epoch, before.Epoch, len(page.Changes), page.Version)
		}
		if made := insert(t, to, newKey(t, nil)); made[0].Version <= highest {
			t.Errorf("a new key has version %d", made[0].Version)
		}
	})
}

// TestCopy_CanBeRepeatedUntilServed: each copy makes the target equal to the source. Once
// the target is served, it has a state of its own.
func TestCopy_CanBeRepeatedUntilServed(t *testing.T) {
	eachWay(t, func(t *testing.T, from *DB, into Config) {
		keys := populate(t, from)
		to := opened(t, into)
		copied(t, from, to)
		first := presentFeed(t, to).Epoch
		if again := copied(t, from, to)["api_keys"]; again.Written != 0 || again.Removed != 0 {
			t.Errorf("the second copy wrote: %+v", again)
		}
		if presentFeed(t, to).Epoch == first {
			t.Error("the second copy left the epoch as it was")
		}
		// One key is deleted, one is added, one changes, and two exchange a unique value.
		run(t, from, "DELETE FROM api_keys WHERE id = ?", keys[2].Record.ID)
		insert(t, from, newKey(t, nil))
		run(t, from, "UPDATE api_keys SET name = 'changed' WHERE id = ?", keys[4].Record.ID)
		a, b := keys[0].Record, keys[len(keys)-1].Record
		for _, step := range [][2]string{{"?", a.ID}, {a.Prefix, b.ID}, {b.Prefix, a.ID}} {
			run(t, from, "UPDATE api_keys SET key_prefix = ? WHERE id = ?", step[0], step[1])
		}
		if got := copied(t, from, to)["api_keys"]; got.Written != 4 || got.Removed != 4 {
			t.Errorf("%+v", got)
		}
		if rec, _, err := to.KeyByPrefix(t.Context(), a.Prefix); err != nil || rec.ID != b.ID {
			t.Errorf("got %v, %v", rec.ID, err)
		}
		if err := to.StartServing(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := Copy(t.Context(), openedToCopy(t, from), to, nil); err == nil || !strings.Contains(err.Error(), "holds rows that are not of a copy (roles 1, api_keys 46") {
			t.Errorf("got %v", err)
		}
		if _, err := Verify(t.Context(), openedToCopy(t, from), to, nil); err != nil {
			t.Error(err)
		}
		run(t, to, "UPDATE api_keys SET is_active = NOT is_active WHERE id = ?", keys[4].Record.ID)
		if _, err := Verify(t.Context(), openedToCopy(t, from), to, nil); err == nil || !strings.Contains(err.Error(), "api_keys differs") {
			t.Errorf("a difference was not found: %v", err)
		}
	})
}

// TestCopy_InterruptedGoesOn: an interrupted copy can be continued, and no service uses
// the target until the copy has succeeded.
func TestCopy_InterruptedGoesOn(t *testing.T) {
	eachWay(t, func(t *testing.T, from *DB, into Config) {
		keys := populate(t, from)
		to := opened(t, into)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		c := newCopying(openedToCopy(t, from), to, func(_ string, _, _ int64) { cancel() })
		c.rows = 20
		if _, err := c.copy(ctx); err == nil {
			t.Fatal("it was not interrupted")
		}
		if n := rowsOf(t, to, "api_keys"); n == 0 || n >= 46 {
			t.Fatalf("%d keys were copied", n)
		}
		if err := to.StartServing(t.Context()); !errors.Is(err, ErrCopyUnfinished) {
			t.Errorf("serving: %v", err)
		}
		if _, err := Copy(t.Context(), to, migrated(t, sqliteConfig(t)), nil); !errors.Is(err, ErrCopyUnfinished) {
			t.Errorf("as a source: %v", err)
		}
		run(t, from, "DELETE FROM api_keys WHERE id = ?", keys[0].Record.ID)
		got := copied(t, from, to)["api_keys"]
		if got.Rows != 45 || got.Removed > 1 || got.Written >= got.Rows {
			t.Errorf("%+v", got)
		}
		if err := to.StartServing(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func TestCopy_RefusesWhatWouldBeLostOrMixed(t *testing.T) {
	eachWay(t, func(t *testing.T, from *DB, into Config) {
		populate(t, from)
		to := migrated(t, into)
		refused := func(name, with string, from, to *DB) {
			t.Helper()
			if _, err := Copy(t.Context(), from, to, nil); err == nil || !strings.Contains(err.Error(), with) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%s: got %v", name, err)
			}
		}
		refused("the same database", "the same database", from, from)
		run(t, to, "INSERT INTO key_usage (key_id, count, last_used_at) VALUES ('x', 1, ?)", testTime)
		refused("a target with rows", "key_usage 1", openedToCopy(t, from), to)
		run(t, to, "DELETE FROM key_usage")
		if to.driver == Postgres {
			run(t, to, "INSERT INTO replicas (instance, at) VALUES ('a', now())")
			refused("a target with replicas", "1 replicas serve it", openedToCopy(t, from), to)
			run(t, to, "DELETE FROM replicas")
		}
		run(t, from, "DELETE FROM "+migrationsTable+" WHERE version_id > 6")
		refused("an older source", "run extauthz migrate up on it first", openedToCopy(t, from), to)
		run(t, from, "INSERT INTO "+migrationsTable+" (version_id, is_applied) VALUES (1000, TRUE)")
		refused("a newer source", "run the newer one", openedToCopy(t, from), to)
		if n := rowsOf(t, to, "api_keys"); n != 0 {
			t.Errorf("%d keys were copied", n)
		}
	})
	if _, err := OpenSource(t.Context(), Config{Driver: SQLite, DSN: t.TempDir() + "/none.db"}); err == nil {
		t.Error("a file that is not there was opened")
	}
}

func rowsOf(t *testing.T, db *DB, table string) (n int64) {
	t.Helper()
	if err := db.read.Table(table).Count(&n).Error; err != nil {
		t.Fatal(err)
	}
	return n
}

func TestCopy_LeavesTheSourceAsItIs(t *testing.T) {
	config := sqliteConfig(t)
	from := migrated(t, config)
	populate(t, from)
	if err := from.Close(); err != nil {
		t.Fatal(err)
	}
	sum := func() [32]byte {
		file, err := os.ReadFile(config.DSN)
		if err != nil {
			t.Fatal(err)
		}
		return sha256.Sum256(file)
	}
	before := sum()
	src, err := OpenSource(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	_, err = Copy(t.Context(), src, opened(t, sqliteConfig(t)), nil)
	if err := errors.Join(err, src.Close()); err != nil {
		t.Fatal(err)
	}
	if sum() != before {
		t.Error("the source's file is another one")
	}
	if run := src.gorm.Exec("DELETE FROM api_keys"); run.Error == nil {
		t.Error("the source can be written to")
	}
}
