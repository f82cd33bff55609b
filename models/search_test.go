package models

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"gorm.io/gorm"

	"extauthz/authz"
)

// found searches page by page, and returns the names of the keys that it finds.
func found(t *testing.T, db *DB, f authz.KeyFilter) (names []string) {
	t.Helper()
	for {
		page, err := db.ListKeys(t.Context(), f)
		if err != nil {
			t.Fatal(err)
		}
		for _, k := range page {
			names = append(names, k.Name)
		}
		if len(page) < f.Limit {
			return names
		}
		f.After = page[len(page)-1].ID
	}
}

// TestSearch_FindsWhatBegins: a search finds keys by prefix, name and user, each key
// once, whatever the page size is. Wildcards are ordinary characters.
func TestSearch_FindsWhatBegins(t *testing.T) {
	each(t, func(t *testing.T, db *DB) {
		made := map[string]authz.Record{}
		for name, user := range map[string]string{"Laptop": "alice", "laptop 2": "bob", "LAPTOP\t3": "laptop", "50% off": "_x", "a_b": "50", "aXb": `\`, "Über": "Über",
			"alice's": "alice", "zz": "alice", "!!": "!", "~~": "\U0010FFFF\U0010FFFF", "same": "same", "quote'": `"`} {
			made[name] = insert(t, db, newKey(t, func(r *authz.Record) { r.Name, r.UserID = name, user }))[0]
		}
		damaged := insert(t, db, newKey(t, func(r *authz.Record) { r.Name = "damaged" }))[0]
		run(t, db, `UPDATE api_keys SET scopes = 'x' WHERE id = ?`, damaged.ID)
		for text, want := range map[string][]string{
			"laptop": {"LAPTOP\t3", "Laptop", "laptop 2"}, "LAP": {"LAPTOP\t3", "Laptop", "laptop 2"}, "aptop": nil, "ALICE": {"alice's"},
			"alice": {"alice's", "Laptop", "zz"}, "50": {"50% off", "a_b"}, "50%": {"50% off"}, "%": nil, "_": {"50% off"}, "a_": {"a_b"}, `\`: {"aXb"}, "!": {"!!"},
			"same": {"same"}, "dam": {"damaged"}, "quote'": {"quote'"}, `"`: {"quote'"}, "\U0010FFFF": {"~~"}, "Üb": {"Über"}, made["zz"].Prefix: {"zz"},
		} {
			for _, limit := range []int{1, 3, 100} {
				got := found(t, db, authz.KeyFilter{Text: text, Limit: limit})
				if slices.Sort(got[:]); !slices.Equal(got, sorted(want)) {
					t.Errorf("%q by %d: %q", text, limit, got)
				}
			}
		}
		if got := found(t, db, authz.KeyFilter{Text: "ak_live_", Limit: 4}); len(got) != len(made)+1 {
			t.Errorf("by the brand: %q", got)
		}
		if got := found(t, db, authz.KeyFilter{Text: "alice", UserID: "alice", Limit: 1}); len(got) != 3 {
			t.Errorf("of one user: %q", got)
		}
		_, err := db.ListKeys(t.Context(), authz.KeyFilter{Text: "alice", Limit: 1, After: made["aXb"].ID})
		if !errors.Is(err, authz.ErrNotFound) {
			t.Errorf("a cursor of another search: %v", err)
		}
	})
}

func sorted(s []string) []string { return slices.Sorted(slices.Values(s)) }

// fill makes many keys by SQL.
func fill(t testing.TB, db *DB, n int) {
	t.Helper()
	statements := []string{`INSERT INTO api_keys (id, user_id, name, key_prefix, key_hash, scopes, is_active, created_at, updated_at, family)
		SELECT '0190' || lpad(i::text, 8, '0'), 'user-' || i % 100000, 'Key ' || i, 'ak_live_' || lpad(i::text, 8, '0'), repeat('0', 64), '["orders:read"]', TRUE, now(), now(), 'f' || i FROM generate_series(1, ?) i`,
		"ANALYZE api_keys"}
	if db.driver == SQLite {
		statements = []string{`WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)
			INSERT INTO api_keys (id, user_id, name, key_prefix, key_hash, scopes, is_active, created_at, updated_at, family)
			SELECT '0190' || printf('%08d', i), 'user-' || (i % 100000), 'Key ' || i, 'ak_live_' || printf('%08d', i), printf('%064d', 0), '["orders:read"]', 1, '2026-11-25 12:00:00+00:00', '2026-11-25 12:00:00+00:00', 'f' || i FROM n`}
	}
	if err := db.gorm.Transaction(func(tx *gorm.DB) error {
		if db.driver == Postgres {
			statements = append([]string{"SET LOCAL statement_timeout = 0"}, statements...)
		}
		for _, s := range statements {
			var args []any
			if strings.Contains(s, "?") {
				args = append(args, n)
			}
			if err := tx.Exec(s, args...).Error; err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}

// plans calls do, and returns the plan of each statement with which do read.
func plans(t *testing.T, db *DB, do func()) (plans []string) {
	t.Helper()
	type statement struct {
		sql  string
		vars []any
	}
	var all []statement
	note := func(tx *gorm.DB) {
		all = append(all, statement{tx.Statement.SQL.String(), slices.Clone(tx.Statement.Vars)})
	}
	for _, p := range []interface {
		Register(string, func(*gorm.DB)) error
	}{db.read.Callback().Query().After("gorm:query"), db.read.Callback().Row().After("gorm:row")} {
		if err := p.Register("note", note); err != nil {
			t.Fatal(err)
		}
	}
	do()
	if err := errors.Join(db.read.Callback().Query().Remove("note"), db.read.Callback().Row().Remove("note")); err != nil {
		t.Fatal(err)
	}
	explain := "EXPLAIN "
	if db.driver == SQLite {
		explain = "EXPLAIN QUERY PLAN "
	}
	for _, s := range all {
		rows, err := db.pools[0].QueryContext(t.Context(), explain+s.sql, s.vars...)
		if err != nil {
			t.Fatal(err)
		}
		plan := s.sql
		for rows.Next() {
			columns, err := rows.Columns()
			if err != nil {
				t.Fatal(err)
			}
			cells := make([]any, len(columns))
			for i := range cells {
				cells[i] = new(any)
			}
			if err := rows.Scan(cells...); err != nil {
				t.Fatal(err)
			}
			plan += fmt.Sprint("\n", *cells[len(cells)-1].(*any))
		}
		if err := errors.Join(rows.Err(), rows.Close()); err != nil {
			t.Fatal(err)
		}
		plans = append(plans, plan)
	}
	return plans
}

// TestSearch_IsARangeOfAnIndex: no statement scans or sorts, for any text and filter. The
// same holds for the statements that find administrators.
func TestSearch_IsARangeOfAnIndex(t *testing.T) {
	onEach := func(t *testing.T, db *DB) {
		fill(t, db, 5_000)
		run(t, db, "INSERT INTO administrators (id, name, family, created_at, updated_at) VALUES ('a', 'a', 'f', ?, ?), ('b', 'b', 'g', ?, ?)", testTime, testTime, testTime, testTime)
		reads := map[string]func() error{
			"administration": func() error { _, err := db.Administration(t.Context()); return err },
			"administrators": func() error { _, err := db.HasAdministrator(t.Context()); return err },
			"a key":          func() error { _, _, err := db.KeyByPrefix(t.Context(), "ak_live_00000007"); return err },
			"a reference":    func() error { _, err := db.KeyByRef(t.Context(), "ak_live_00000007"); return err },
			"a user": func() error {
				_, err := db.ListKeys(t.Context(), authz.KeyFilter{UserID: "user-7", Limit: 10})
				return err
			},
		}
		for _, text := range []string{"k", "key 1", "KEY 4999", "ak_live_000", "user-1", "none", "%", "key_"} {
			for name, filter := range map[string]authz.KeyFilter{"": {}, " active": {ActiveOnly: true, Now: time.Now()}} {
				filter.Text, filter.Limit = text, 100
				reads["search "+text+name] = func() error {
					page, err := db.ListKeys(t.Context(), filter)
					if len(page) == filter.Limit {
						filter.After = page[49].ID
						_, err = db.ListKeys(t.Context(), filter)
					}
					return err
				}
			}
		}
		for name, read := range reads {
			for _, plan := range plans(t, db, func() {
				if err := read(); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			}) {
				plan = strings.ReplaceAll(plan, "SCAN roles", "") // a small table
				if strings.Contains(plan, "Seq Scan on api_keys") || strings.Contains(plan, "SCAN api_keys\n") || strings.HasSuffix(plan, "SCAN api_keys") ||
					strings.HasPrefix(name, "search") && (strings.Contains(plan, "Sort") || strings.Contains(plan, "TEMP B-TREE")) {
					t.Errorf("%s: %s", name, plan)
				}
			}
		}
	}
	t.Run(SQLite, func(t *testing.T) { onEach(t, migrated(t, sqliteConfig(t))) })
	t.Run(Postgres, func(t *testing.T) { onEach(t, migrated(t, postgresConfig(t))) })
}

// TestMigrate_SearchIndexesAreMadeAnew: an earlier attempt to make them was cut off.
func TestMigrate_SearchIndexesAreMadeAnew(t *testing.T) {
	db := migrated(t, postgresConfig(t))
	run(t, db, `DROP INDEX api_keys_name`)
	insert(t, db, newKey(t, nil))
	run(t, db, `UPDATE pg_index SET indisvalid = FALSE WHERE indexrelid = 'api_keys_user'::regclass`)
	run(t, db, `CREATE INDEX api_keys_user_id ON api_keys (user_id, id)`)
	run(t, db, `DELETE FROM `+migrationsTable+` WHERE version_id >= 10`)
	run(t, db, `ALTER TABLE usage_marks DROP COLUMN beyond`) // of later migrations
	run(t, db, `ALTER TABLE audit_log DROP COLUMN administrator`)
	run(t, db, `DROP TABLE administrators, administrator_roles`)
	if err := db.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	var valid []string
	if err := db.gorm.Raw(`SELECT c.relname FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid WHERE i.indrelid = 'api_keys'::regclass AND i.indisvalid ORDER BY 1`).Scan(&valid).Error; err != nil {
		t.Fatal(err)
	}
	if want := []string{"api_keys_administrators", "api_keys_family", "api_keys_name", "api_keys_pkey", "api_keys_prefix", "api_keys_project", "api_keys_user"}; !slices.Equal(valid, want) {
		t.Errorf("got %q", valid)
	}
}
