package models

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"extauthz/authz"
)

// eachWay runs a test for each direction of a copy: with a source that is
// migrated, and a configuration of an empty target.
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

// openedToCopy opens a database as a copy reads it.
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

// populate writes some of everything.
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
	for i := range 40 { // more than ids in one order of letters and another
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

// TestCopy_CanBeRepeatedUntilServed: each time the target becomes what the
// source is; then it has a state of its own.
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
		// One key goes, one comes, one changes, two exchange what is unique.
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

// TestCopy_InterruptedGoesOn: until it has succeeded, no service uses the target.
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

// TestCopy_TakesEveryTableAndColumn: a table or column of a later release is
// copied, or named as one database's own.
func TestCopy_TakesEveryTableAndColumn(t *testing.T) {
	each(t, func(t *testing.T, db *DB) {
		query := "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%'"
		if db.driver == Postgres {
			query = "SELECT tablename FROM pg_tables WHERE schemaname = current_schema()"
		}
		var tables []string
		if err := db.read.Raw(query).Scan(&tables).Error; err != nil {
			t.Fatal(err)
		}
		for _, name := range tables {
			_, own := ownTables[name]
			if own == slices.Contains(copiedTables, name) {
				t.Errorf("table %s: it has to be in copiedTables or in ownTables", name)
			}
		}
		for _, name := range copiedTables {
			columns, _, err := db.columnsOf(t.Context(), name)
			if err != nil {
				t.Fatal(err)
			}
			table, lost, err := copiedColumns(t.Context(), db, db, name)
			if err != nil || len(lost) > 0 {
				t.Fatal(lost, err)
			}
			left := map[string]bool{}
			for _, c := range columns {
				left[c[0]] = true
			}
			for _, c := range table.columns {
				delete(left, c.name)
			}
			if delete(left, "version"); len(left) > 0 {
				t.Errorf("table %s: not copied: %v", name, slices.Collect(maps.Keys(left)))
			}
		}
	})
}

// TestCopy_RowsThatPostgresCannotKeep are named, each on one line, and keep the
// copy from being finished; all others are copied.
func TestCopy_RowsThatPostgresCannotKeep(t *testing.T) {
	from, to := migrated(t, sqliteConfig(t)), opened(t, postgresConfig(t))
	values := map[string]string{
		"NUL":            "name = 'a' || char(0) || 'b'",
		"not UTF-8":      "name = CAST(x'ff' AS TEXT)",
		"bytes":          "name = x'6162'",
		"no time":        "expires_at = 'soon'",
		"time of a real": "expires_at = 1.5",
		"no truth value": "is_active = 'perhaps'",
		"two":            "is_active = 2",
		"long prefix":    "key_prefix = hex(randomblob(8000))",
		"long user":      "user_id = hex(randomblob(8000))",
	}
	ids := map[string]string{}
	for name, set := range values {
		k := newKey(t, nil)
		insert(t, from, k)
		run(t, from, "UPDATE api_keys SET "+set+" WHERE id = ?", k.Record.ID)
		ids[name] = k.Record.ID
	}
	good := map[string]string{
		"truth as text": "is_active = 'true'", "falsehood as text": "is_active = 'false'", "T for truth": "is_active = 't'", "time of RFC 3339": "expires_at = '2999-01-01T00:00:00Z'",
		"seconds": "expires_at = 4102444800", "a number as a name": "name = 17", "fingerprint": "project = ''",
	}
	kept := map[string]authz.NewKey{}
	for name, set := range good {
		k := newKey(t, nil)
		insert(t, from, k)
		run(t, from, "UPDATE api_keys SET "+set+" WHERE id = ?", k.Record.ID)
		kept[name] = k
	}
	run(t, from, "INSERT INTO key_usage (key_id, count, last_used_at) VALUES ('half', 1.5, ?)", testTime)
	run(t, from, "INSERT INTO key_usage (key_id, count, last_used_at) VALUES (NULL, 1, ?)", testTime)
	tables, err := Copy(t.Context(), openedToCopy(t, from), to, nil)
	if err == nil {
		t.Fatal("nothing was refused")
	}
	lines := strings.Split(err.Error(), "\n")
	for name, id := range ids {
		n := 0
		for _, line := range lines {
			if strings.Contains(line, id) {
				n++
			}
		}
		if n != 1 {
			t.Errorf("%s: %d lines name it", name, n)
		}
	}
	for _, want := range []string{`key_usage key_id="half": the column count`, "the column key_id is NULL"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("no line has %q: %v", want, err)
		}
	}
	for _, table := range tables {
		if table.Table == "api_keys" && (table.Written != int64(len(good)) || table.TargetRows != int64(len(good))) {
			t.Errorf("%+v", table)
		}
	}
	for name, k := range kept {
		want, _, wantErr := from.KeyByPrefix(t.Context(), k.Record.Prefix)
		got, _, err := to.KeyByPrefix(t.Context(), k.Record.Prefix)
		if want.Version, got.Version = 0, 0; !reflect.DeepEqual(got, want) || err != nil || wantErr != nil {
			t.Errorf("%s: got %+v, %v, want %+v, %v", name, got, err, want, wantErr)
		}
	}
	if err := to.StartServing(t.Context()); !errors.Is(err, ErrCopyUnfinished) {
		t.Errorf("serving: %v", err)
	}
	for _, id := range ids { // they are corrected, and the next copy ends well
		run(t, from, "DELETE FROM api_keys WHERE id = ?", id)
	}
	run(t, from, "DELETE FROM key_usage")
	if got := copied(t, from, to)["api_keys"]; got.Written != 0 {
		t.Errorf("%+v", got)
	}
}

// TestCopy_BetweenDatabasesOfOneSort keeps what is stored, readable or not.
func TestCopy_BetweenDatabasesOfOneSort(t *testing.T) {
	for driver, sets := range map[string][]string{
		SQLite: {"name = 'a' || char(0) || 'b'", "name = CAST(x'ff' AS TEXT)", "name = x'6162'", "expires_at = 'soon'", "expires_at = 1.5", "expires_at = 4102444800",
			"is_active = 'perhaps'", "is_active = 'true'", "is_active = 2", "created_at = '2026-01-01'", "metadata = CAST(zeroblob(5000000) AS TEXT)"},
		Postgres: {"expires_at = 'infinity'", "revoked_at = '-infinity'", "created_at = '4713-01-01 BC'", "updated_at = '99999-01-01'", "metadata = repeat('x', 5000000)"},
	} {
		t.Run(driver, func(t *testing.T) {
			config := sqliteConfig
			if driver == Postgres {
				config = postgresConfig
			}
			from, to := migrated(t, config(t)), opened(t, config(t))
			for _, set := range sets {
				k := newKey(t, nil)
				insert(t, from, k)
				run(t, from, "UPDATE api_keys SET "+set+" WHERE id = ?", k.Record.ID)
			}
			copied(t, from, to)
			stored := func(db *DB) string {
				rows, err := db.read.Raw("SELECT id, CAST(name AS TEXT), CAST(expires_at AS TEXT), CAST(revoked_at AS TEXT), CAST(is_active AS TEXT), CAST(created_at AS TEXT), CAST(updated_at AS TEXT), length(metadata) FROM api_keys ORDER BY id").Rows()
				if err != nil {
					t.Fatal(err)
				}
				defer func() { _ = rows.Close() }()
				var all []string
				for rows.Next() {
					values := make([]any, 8)
					targets := make([]any, 8)
					for i := range values {
						targets[i] = &values[i]
					}
					if err := rows.Scan(targets...); err != nil {
						t.Fatal(err)
					}
					all = append(all, fmt.Sprintf("%q", values))
				}
				return strings.Join(all, "\n")
			}
			if got, want := stored(to), stored(from); got != want {
				t.Errorf("got\n%.2000s\nwant\n%.2000s", got, want)
			}
		})
	}
}

// TestCopy_TimesBeyondSQLite are named: SQLite's driver can't read them back.
func TestCopy_TimesBeyondSQLite(t *testing.T) {
	from, to := migrated(t, postgresConfig(t)), opened(t, sqliteConfig(t))
	for _, set := range []string{"expires_at = 'infinity'", "revoked_at = '-infinity'", "expires_at = '10000-01-01'", "created_at = '0044-03-15 BC'"} {
		k := newKey(t, nil)
		insert(t, from, k)
		run(t, from, "UPDATE api_keys SET "+set+" WHERE id = ?", k.Record.ID)
	}
	insert(t, from, newKey(t, nil))
	_, err := Copy(t.Context(), from, to, nil)
	if err == nil || strings.Count(err.Error(), "holds a time that extauthz can't read") != 4 || rowsOf(t, to, "api_keys") != 1 {
		t.Errorf("got %v", err)
	}
}

// TestCopy_ColumnsOfAnotherSystem are reported: a table that was taken over may
// have them.
func TestCopy_ColumnsOfAnotherSystem(t *testing.T) {
	from, to := migrated(t, postgresConfig(t)), opened(t, sqliteConfig(t))
	run(t, from, "ALTER TABLE api_keys ADD COLUMN team TEXT, ADD COLUMN points JSONB")
	insert(t, from, newKey(t, nil))
	if got := copied(t, from, to)["api_keys"]; got.NotCopiedColumns != "team, points" || got.Written != 1 {
		t.Errorf("%+v", got)
	}
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
