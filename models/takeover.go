package models

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/pressly/goose/v3"
)

// foreignColumns are the columns that a table api_keys of another system must have.
var foreignColumns = []string{"id", "user_id", "name", "key_prefix", "key_hash", "scopes", "is_active", "expires_at", "created_at", "updated_at"}

// takeOver returns the migrations before and after 00002_keys.sql, which take over a
// table api_keys of another system, with its rows. The table must have the ten columns of
// foreignColumns, with key_hash as SHA-256 in hexadecimal and scopes as the JSON
// [{"resource":…,"actions":[…]}].
//
// In Postgres, columns of other types (uuid, jsonb, timestamp, which is read as UTC) are
// converted, and additional columns stay as they are. SQLite can't change a type, so the
// table is made anew. Additional columns would be lost, so a table that has some is
// refused.
func takeOver(driver string) []*goose.Migration {
	before, after := setAside, moveRows
	if driver == Postgres {
		before, after = adaptColumns, completeRows
	}
	step := func(version int64, run func(context.Context, *sql.Tx) error) *goose.Migration {
		return goose.NewGoMigration(version, &goose.GoFunc{RunTx: func(ctx context.Context, tx *sql.Tx) error {
			if err := run(ctx, tx); err != nil {
				return fmt.Errorf("the table api_keys that is there can't be taken over: %w", err)
			}
			return nil
		}}, nil)
	}
	return []*goose.Migration{step(1, before), step(3, after)}
}

// checkColumns refuses a table that lacks one of the ten columns.
func checkColumns(there map[string]string) error {
	for _, c := range foreignColumns {
		if _, ok := there[c]; !ok {
			return fmt.Errorf("it has no column %s", c)
		}
	}
	return nil
}

// adaptColumns gives the columns the types that 00002_keys.sql would have given
// them, fills what is NULL, and adds the service's own columns.
func adaptColumns(ctx context.Context, tx *sql.Tx) error {
	if err := execAll(ctx, tx, "SET LOCAL statement_timeout = 0", "SET LOCAL lock_timeout = 0"); err != nil {
		return err
	}
	there, err := pairs(ctx, tx, `SELECT a.attname, t.typname FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
		WHERE a.attrelid = to_regclass('api_keys') AND a.attnum > 0 AND NOT a.attisdropped`)
	if err != nil || len(there) == 0 {
		return err
	}
	if err := checkColumns(there); err != nil {
		return err
	}
	var changes []string
	for _, c := range foreignColumns {
		want, using := "text", c+"::text"
		switch {
		case c == "is_active":
			want, using = "bool", c+"::bool"
		case strings.HasSuffix(c, "_at"):
			want, using = "timestamptz", c+" AT TIME ZONE 'UTC'"
		}
		if there[c] != want {
			changes = append(changes, fmt.Sprintf("ALTER COLUMN %s TYPE %s USING %s", c, want, using))
		}
	}
	for _, c := range []string{
		"hash_alg TEXT NOT NULL DEFAULT 'sha256'", "pepper_id TEXT NOT NULL DEFAULT ''", "environment TEXT NOT NULL DEFAULT ''",
		"revoked_at TIMESTAMPTZ", "rotated_from TEXT NOT NULL DEFAULT ''", "allowed_cidrs TEXT NOT NULL DEFAULT '[]'",
		"metadata TEXT NOT NULL DEFAULT '{}'", "rate TEXT NOT NULL DEFAULT ''", "project TEXT NOT NULL DEFAULT ''",
		"roles TEXT NOT NULL DEFAULT '[]'", "family TEXT NOT NULL DEFAULT ''", "version BIGINT NOT NULL DEFAULT 0", "grants TEXT NOT NULL DEFAULT '{}'",
	} {
		changes = append(changes, "ADD COLUMN IF NOT EXISTS "+c)
	}
	return execAll(ctx, tx, "ALTER TABLE api_keys "+strings.Join(changes, ", "),
		`UPDATE api_keys SET name = COALESCE(name, ''), scopes = COALESCE(NULLIF(scopes, ''), '[]'), is_active = COALESCE(is_active, FALSE),
			created_at = COALESCE(created_at, updated_at, now()), updated_at = COALESCE(updated_at, created_at, now())
		WHERE name IS NULL OR NULLIF(scopes, '') IS NULL OR is_active IS NULL OR created_at IS NULL OR updated_at IS NULL`)
}

// completeRows gives each row that was taken over a family of its own. The trigger on
// that update assigns a version.
func completeRows(ctx context.Context, tx *sql.Tx) error {
	return execAll(ctx, tx, "SET LOCAL statement_timeout = 0", "UPDATE api_keys SET family = id WHERE family = ''")
}

// setAside renames the table and frees the names of its indexes.
func setAside(ctx context.Context, tx *sql.Tx) error {
	there, err := pairs(ctx, tx, "SELECT name, type FROM pragma_table_info('api_keys')")
	if err != nil || len(there) == 0 {
		return err
	}
	if err := checkColumns(there); err != nil {
		return err
	}
	for c := range there {
		if !slices.Contains(foreignColumns, c) {
			return fmt.Errorf("its column %s would be lost: copy it elsewhere and drop it", c)
		}
	}
	indexes, err := pairs(ctx, tx, "SELECT name, tbl_name FROM sqlite_master WHERE type = 'index' AND tbl_name = 'api_keys' AND sql IS NOT NULL")
	if err != nil {
		return err
	}
	for name := range indexes {
		if err := execAll(ctx, tx, `DROP INDEX "`+strings.ReplaceAll(name, `"`, `""`)+`"`); err != nil {
			return err
		}
	}
	return execAll(ctx, tx, "ALTER TABLE api_keys RENAME TO api_keys_before")
}

// moveRows moves the rows of the renamed table into the new one.
func moveRows(ctx context.Context, tx *sql.Tx) error {
	there, err := pairs(ctx, tx, "SELECT name, type FROM pragma_table_info('api_keys_before')")
	if err != nil || len(there) == 0 {
		return err
	}
	// Times are written in this program's form. A number is read as seconds since 1970. A
	// form that SQLite does not know stays as it is: the driver knows more forms.
	instant := func(column string) string {
		const form = "'%Y-%m-%d %H:%M:%f+00:00'"
		return fmt.Sprintf("CASE typeof(%[1]s) WHEN 'integer' THEN strftime(%[2]s, %[1]s, 'unixepoch') ELSE COALESCE(strftime(%[2]s, %[1]s), %[1]s) END", column, form)
	}
	return execAll(ctx, tx, `INSERT INTO api_keys (id, user_id, name, key_prefix, key_hash, scopes, is_active, expires_at, created_at, updated_at, family)
		SELECT id, user_id, COALESCE(name, ''), key_prefix, key_hash, COALESCE(NULLIF(scopes, ''), '[]'), COALESCE(is_active, FALSE), `+instant("expires_at")+`,
			`+instant("COALESCE(created_at, updated_at, datetime('now'))")+", "+instant("COALESCE(updated_at, created_at, datetime('now'))")+`, id
		FROM api_keys_before`, "DROP TABLE api_keys_before")
}

func execAll(ctx context.Context, tx *sql.Tx, statements ...string) error {
	for _, s := range statements {
		if _, err := tx.ExecContext(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

// pairs returns a query's rows of two texts.
func pairs(ctx context.Context, tx *sql.Tx, query string) (found map[string]string, err error) {
	rows, err := tx.QueryContext(ctx, query)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	found = map[string]string{}
	for rows.Next() {
		var a, b string
		if err := rows.Scan(&a, &b); err != nil {
			return nil, err
		}
		found[a] = b
	}
	return found, rows.Err()
}
