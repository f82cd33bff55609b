package models

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"extauthz/authz"
)

// TestCopy_TakesEveryTableAndColumn: a table or column that a later release adds has to
// be copied, or declared as belonging to one database.
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

// TestCopy_RowsThatPostgresCannotKeep: the error names each such row on a line, and the
// copy stays unfinished. All other rows are copied.
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
	for _, id := range ids { // the rows are corrected, and the next copy succeeds
		run(t, from, "DELETE FROM api_keys WHERE id = ?", id)
	}
	run(t, from, "DELETE FROM key_usage")
	if got := copied(t, from, to)["api_keys"]; got.Written != 0 {
		t.Errorf("%+v", got)
	}
}

// TestCopy_BetweenDatabasesOfOneSort: values are copied as they are stored, readable or
// not.
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

// TestCopy_TimesBeyondSQLite: they are named, since SQLite's driver can't read them back; but
// infinity is how Postgres says that a key never expires.
func TestCopy_TimesBeyondSQLite(t *testing.T) {
	from, to := migrated(t, postgresConfig(t)), opened(t, sqliteConfig(t))
	for _, set := range []string{"expires_at = 'infinity'", "revoked_at = '-infinity'", "expires_at = '10000-01-01'", "created_at = '0044-03-15 BC'"} {
		k := newKey(t, nil)
		insert(t, from, k)
		run(t, from, "UPDATE api_keys SET "+set+" WHERE id = ?", k.Record.ID)
	}
	insert(t, from, newKey(t, nil))
	_, err := Copy(t.Context(), from, to, nil)
	if err == nil || strings.Count(err.Error(), "holds a time that extauthz can't read") != 3 || rowsOf(t, to, "api_keys") != 2 {
		t.Errorf("got %v", err)
	}
}

// TestCopy_ColumnsOfAnotherSystem: columns that only a table taken over from another
// system has are reported.
func TestCopy_ColumnsOfAnotherSystem(t *testing.T) {
	from, to := migrated(t, postgresConfig(t)), opened(t, sqliteConfig(t))
	run(t, from, "ALTER TABLE api_keys ADD COLUMN team TEXT, ADD COLUMN points JSONB")
	insert(t, from, newKey(t, nil))
	if got := copied(t, from, to)["api_keys"]; got.NotCopiedColumns != "team, points" || got.Written != 1 {
		t.Errorf("%+v", got)
	}
}
