package models

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// copiedTables lists the tables that are copied, in the order of copying.
var copiedTables = []string{"roles", "api_keys", "key_usage", "usage_marks", "idempotency_keys", "audit_log", "administrator_roles", "administrators"}

// ownTables lists the tables that are not copied, since what they hold belongs to one
// database. The target has versions and an epoch of its own: its versions begin beyond
// all of the source's, and its new epoch makes everything stale that was cached from
// either database.
var ownTables = map[string]string{
	migrationsTable: "the schema's version",
	"extauthz_meta": "the epoch",
	"change_seq":    "the versions that were given",
	"outbox":        "changes of the epoch before",
	"feed_marks":    "positions in them",
	"replicas":      "who serves",
	copyMark:        "the copy's own mark",
}

// kind is the type of a column's values, the same for both databases.
type kind uint8

const (
	kindText kind = iota
	kindBool
	kindInt
	kindTime
	kindBytes
)

// kinds maps each driver's declared types of columns to their kinds.
var kinds = map[string]map[string]kind{
	SQLite:   {"TEXT": kindText, "BOOLEAN": kindBool, "BIGINT": kindInt, "INTEGER": kindInt, "DATETIME": kindTime, "BLOB": kindBytes},
	Postgres: {"text": kindText, "varchar": kindText, "bool": kindBool, "int2": kindInt, "int4": kindInt, "int8": kindInt, "timestamptz": kindTime, "bytea": kindBytes},
}

// column is a column of a copied table.
type column struct {
	name, declared string // declared: its type in the target
	kind           kind
}

// copiedTable is a table that both databases have. Postgres's timestamptz and SQLite's
// DATETIME are of the same kind. Between two databases with the same driver, values are
// copied as they are stored, whether the service can read them or not.
type copiedTable struct {
	name    string
	columns []column // in the order of the source
	key     []int    // the primary key, as indexes of columns
	raw     bool     // both databases have the same driver
	target  string   // the driver of the target
}

// copiedColumns finds the columns that both databases have. The version is not among
// them, since triggers assign it. lost lists the columns that only the source has: a
// table that was taken over from another system may have some.
func copiedColumns(ctx context.Context, from, to *DB, name string) (t copiedTable, lost []string, err error) {
	t = copiedTable{name: name, raw: from.driver == to.driver, target: to.driver}
	source, _, err := from.columnsOf(ctx, name)
	if err != nil {
		return t, nil, err
	}
	target, key, err := to.columnsOf(ctx, name)
	if err != nil {
		return t, nil, err
	}
	declared := map[string]string{}
	for _, c := range target {
		declared[c[0]] = c[1]
	}
	for _, c := range source {
		typ, there := declared[c[0]]
		switch known, ok := kinds[to.driver][typ]; {
		case !there:
			lost = append(lost, c[0])
		case !ok:
			return t, nil, fmt.Errorf("column %s of %s has the type %s in the target, which extauthz does not make: use a database of its own", c[0], name, typ)
		case c[0] != "version":
			t.columns = append(t.columns, column{name: c[0], declared: typ, kind: known})
		}
	}
	for _, k := range key {
		i := slices.IndexFunc(t.columns, func(c column) bool { return c.name == k })
		if i < 0 {
			return t, nil, fmt.Errorf("the source's table %s has no column %s", name, k)
		}
		t.key = append(t.key, i)
	}
	if len(t.key) == 0 {
		return t, nil, fmt.Errorf("the target's table %s has no primary key", name)
	}
	return t, lost, nil
}

// columnsOf returns the name and declared type of each of a table's columns, and the
// names of the primary key's columns.
func (db *DB) columnsOf(ctx context.Context, table string) (columns [][2]string, key []string, err error) {
	query := "SELECT name, upper(type), pk FROM pragma_table_info(?) ORDER BY cid"
	if db.driver == Postgres {
		query = `SELECT a.attname, t.typname, COALESCE(array_position(i.indkey::int2[], a.attnum), -1) + 1 FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
			LEFT JOIN pg_index i ON i.indrelid = a.attrelid AND i.indisprimary
			WHERE a.attrelid = to_regclass($1) AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum`
	}
	rows, err := db.pools[0].QueryContext(ctx, query, table)
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = rows.Close() }()
	places := map[int]string{}
	for rows.Next() {
		var name, typ string
		var place int
		if err := rows.Scan(&name, &typ, &place); err != nil {
			return nil, nil, err
		}
		columns = append(columns, [2]string{name, typ})
		if place > 0 {
			places[place] = name
		}
	}
	if len(columns) == 0 {
		err = fmt.Errorf("there is no table %s", table)
	}
	for i := 1; len(key) < len(places); i++ {
		key = append(key, places[i])
	}
	return columns, key, errors.Join(err, rows.Err())
}

// selection returns the query for all rows, in the byte order of the primary key, which
// is the same in both databases.
func (t *copiedTable) selection(driver string) string {
	expressions := make([]string, len(t.columns))
	for i, c := range t.columns {
		switch {
		case driver == SQLite && (t.raw || c.kind != kindTime):
			expressions[i] = "+" + quoted(c.name) // the + hides the declared type, so that the driver returns the value as it is stored
		case driver == Postgres && t.raw:
			expressions[i] = quoted(c.name) + "::text"
		default:
			expressions[i] = quoted(c.name)
		}
	}
	order := make([]string, len(t.key))
	for i, k := range t.key {
		order[i] = quoted(t.columns[k].name)
		if driver == Postgres {
			order[i] += ` COLLATE "C"`
		}
	}
	return "SELECT " + strings.Join(expressions, ", ") + " FROM " + t.name + " ORDER BY " + strings.Join(order, ", ")
}

// insertion returns the statement that writes n rows; deletion returns the one that
// deletes n rows by their primary keys.
func (t *copiedTable) insertion(n int) string {
	names, all := make([]string, len(t.columns)), make([]int, len(t.columns))
	for i, c := range t.columns {
		names[i], all[i] = quoted(c.name), i
	}
	return "INSERT INTO " + t.name + " (" + strings.Join(names, ", ") + ") VALUES " + t.tuples(n, all)
}

func (t *copiedTable) deletion(n int) string {
	names := make([]string, len(t.key))
	for i, k := range t.key {
		names[i] = quoted(t.columns[k].name)
	}
	return "DELETE FROM " + t.name + " WHERE (" + strings.Join(names, ", ") + ") IN (VALUES " + t.tuples(n, t.key) + ")"
}

// tuples returns n lists of placeholders, each with one for every column.
func (t *copiedTable) tuples(n int, columns []int) string {
	var b strings.Builder
	for i := range n * len(columns) {
		switch {
		case i == 0:
			b.WriteString("(")
		case i%len(columns) == 0:
			b.WriteString("), (")
		default:
			b.WriteString(", ")
		}
		if t.target == SQLite {
			b.WriteString("?")
			continue
		}
		fmt.Fprintf(&b, "$%d", i+1)
		if t.raw {
			b.WriteString("::" + t.columns[columns[i%len(columns)]].declared)
		}
	}
	return b.String() + ")"
}

func quoted(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

// row is one row of a copied table.
type row struct {
	values []any
	bytes  []byte // the encoded values; rows with the same bytes are equal
}

// problem is a row that can't be copied, and why.
type problem struct{ table, row, why string }

func (p problem) Error() string { return fmt.Sprintf("%s %s: %s", p.table, p.row, p.why) }

// identity names a row by its primary key.
func (t *copiedTable) identity(values []any) string {
	parts := make([]string, len(t.key))
	for i, k := range t.key {
		text := fmt.Sprintf("%.80q", fmt.Sprint(values[k]))
		if b, ok := values[k].([]byte); ok {
			text = fmt.Sprintf("%.80q", b)
		}
		parts[i] = t.columns[k].name + "=" + text
	}
	return strings.Join(parts, " ")
}

// normal converts a row's values into the form that both databases share. The error is a
// [problem] for a row that can't be copied.
func (t *copiedTable) normal(values []any) (row, error) {
	for _, k := range t.key {
		if values[k] == nil {
			return row{}, problem{t.name, t.identity(values), "the column " + t.columns[k].name + " is NULL: give the row one in the source, or delete it"}
		}
	}
	r := row{values: values}
	for i, c := range t.columns {
		if values[i] != nil && !t.raw {
			var why string
			if values[i], why = t.shared(c, values[i]); why != "" {
				return row{}, problem{t.name, t.identity(values), fmt.Sprintf("the column %s %s: correct it in the source", c.name, why)}
			}
		}
		r.bytes = appendValue(r.bytes, values[i])
	}
	return r, nil
}

// shared converts a value that is not NULL into the form that databases of both drivers
// can store. The text is "", or why the value can't be converted.
func (t *copiedTable) shared(c column, value any) (any, string) {
	switch c.kind {
	case kindText:
		text, ok := value.(string)
		switch {
		case !ok:
			return value, "is stored as bytes or a number, not as text"
		case t.target == Postgres && strings.ContainsRune(text, 0):
			return value, "holds a NUL byte, which Postgres can't store"
		case t.target == Postgres && !utf8.ValidString(text):
			return value, "is not UTF-8, which Postgres can't store"
		}
		return text, ""
	case kindBool:
		if b, err := driver.Bool.ConvertValue(value); err == nil { // the service reads it in the same way
			return b, ""
		}
		return value, "is neither true nor false"
	case kindInt:
		if n, ok := value.(int64); ok {
			return n, ""
		}
		return value, "is not a whole number"
	case kindTime:
		if c.name == "expires_at" && isNever(value) {
			return nil, ""
		}
		at, ok := value.(time.Time)
		if ok && at.Year() >= 0 && at.Year() <= 9999 {
			return instant(at), ""
		}
		return value, "holds a time that extauthz can't read"
	default:
		if text, ok := value.(string); ok {
			return []byte(text), ""
		}
		return value, ""
	}
}

// appendValue appends an encoding of the value. Different values have different
// encodings, and no encoding is the beginning of another one.
func appendValue(b []byte, value any) []byte {
	var tag byte
	var text string
	switch v := value.(type) {
	case nil:
		tag = 'n'
	case string:
		tag, text = 's', v
	case []byte:
		tag, text = 'b', string(v)
	case time.Time:
		tag, text = 't', v.UTC().Format(time.RFC3339Nano)
	default:
		tag, text = 'v', fmt.Sprint(v)
	}
	return append(fmt.Appendf(append(b, tag), "%d:", len(text)), text...)
}

// compareKeys orders rows as the databases do: texts by their bytes, and in SQLite blobs
// after all texts.
func (t *copiedTable) compareKeys(a, b row) int {
	for _, k := range t.key {
		x, y := keyText(a.values[k]), keyText(b.values[k])
		if c := strings.Compare(x, y); c != 0 {
			return c
		}
	}
	return 0
}

func keyText(value any) string {
	switch v := value.(type) {
	case string:
		return "s" + v
	case []byte:
		return "t" + string(v)
	default:
		return "n" + fmt.Sprint(v)
	}
}

// rowReader reads a table's rows in the order of their keys.
type rowReader struct {
	table *copiedTable
	rows  *sql.Rows
	bad   func(problem) // is called for a row that can't be copied, which is then left out
}

// next returns the next row that can be copied, or nil at the end.
func (r *rowReader) next() (*row, error) {
	for r.rows.Next() {
		values, targets := make([]any, len(r.table.columns)), make([]any, len(r.table.columns))
		for i := range values {
			targets[i] = &values[i]
		}
		if err := r.rows.Scan(targets...); err != nil {
			return nil, err
		}
		one, err := r.table.normal(values)
		if p := (problem{}); errors.As(err, &p) {
			r.bad(p)
			continue
		}
		return &one, err
	}
	return nil, r.rows.Err()
}
