package models

import (
	"database/sql"
	"errors"
	"fmt"
	"strings"

	"gorm.io/gorm"

	"extauthz/authz"
)

// prefixSearch finds keys by the beginning of one of their values. Its conditions select
// a range of an index, in that index's order. So the cost of a page depends on the page's
// rows, not on how many keys match. Finding the newest of all matching keys would cost
// more.
type prefixSearch struct {
	begins string // condition: the value begins with the text; [DB.beginning] returns its parameters
	after  string // condition: the row comes after another one; [DB.afterArgs] returns its parameters
	order  string
}

// searches returns the searches in the order in which they are run. Each leaves out the
// keys that an earlier one finds. Names match in upper and lower case; prefixes and users
// match exactly.
func (db *DB) searches() []prefixSearch {
	values := []string{"key_prefix", "lower(name)", "user_id"}
	all := make([]prefixSearch, len(values))
	for i, v := range values {
		given := strings.NewReplacer("key_prefix", "?", "name", "?", "user_id", "?").Replace(v)
		if db.driver == Postgres { // the operators with a tilde are those of text_pattern_ops
			all[i] = prefixSearch{v + " LIKE " + given, v + " ~>=~ ? AND (" + v + " ~>~ ? OR id > ?)", v + " USING ~<~, id"}
			continue
		}
		// No character begins with the byte FF, so the bound is above all values that
		// begin with the text.
		all[i] = prefixSearch{v + " >= " + given + " AND " + v + " < " + given + " || x'ff'", "(" + v + ", id) > (?, ?)", v + ", id"}
	}
	all[0].order = strings.TrimSuffix(all[0].order, ", id") // prefixes are unique, and their index has no id
	return all
}

// beginning returns the parameters of prefixSearch.begins. Postgres turns the pattern
// into a range of the index when it plans the statement, in any encoding.
func (db *DB) beginning(text string) []any {
	if db.driver == Postgres {
		return []any{strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`).Replace(text) + "%"}
	}
	return []any{text, text}
}

// afterArgs returns the parameters of prefixSearch.after.
func (db *DB) afterArgs(value, id string) []any {
	if db.driver == Postgres {
		return []any{value, value, id}
	}
	return []any{value, id}
}

// search finds up to f.Limit of q's keys of which a value begins with f.Text: first the
// prefix, then the name, then the user, each in byte order. f.After is the last key of
// the page before.
func (db *DB) search(q *gorm.DB, f authz.KeyFilter) (rows []keyRow, err error) {
	searches, begins := db.searches(), db.beginning(f.Text)
	first, value := 0, ""
	if f.After != "" {
		if first, value, err = db.foundAt(q.Session(&gorm.Session{NewDB: true}), f); err != nil {
			return nil, err
		}
	}
	for i := first; i < len(searches) && len(rows) < f.Limit; i++ {
		page := q.Session(&gorm.Session{}).Where(searches[i].begins, begins...)
		for _, before := range searches[:i] {
			page = page.Where("NOT ("+before.begins+")", begins...)
		}
		if i == first && f.After != "" {
			page = page.Where(searches[i].after, db.afterArgs(value, f.After)...)
		}
		var some []keyRow
		if err := page.Order(searches[i].order).Limit(f.Limit - len(rows)).Find(&some).Error; err != nil {
			return nil, err
		}
		rows = append(rows, some...)
	}
	return rows, nil
}

// foundAt returns which search found the last key of the page before, and the value by
// which it was found. If that key is gone, or was renamed, the error is
// authz.ErrNotFound.
func (db *DB) foundAt(q *gorm.DB, f authz.KeyFilter) (search int, value string, err error) {
	found, args := "SELECT CASE", []any{}
	for i, s := range db.searches() {
		found += fmt.Sprintf(" WHEN %s THEN %d", s.begins, i)
		args = append(args, db.beginning(f.Text)...)
	}
	found += " ELSE -1 END, key_prefix, lower(name), user_id FROM api_keys WHERE id = ?"
	var values [3]string
	err = q.Raw(found, append(args, f.After)...).Row().Scan(&search, &values[0], &values[1], &values[2])
	if errors.Is(err, sql.ErrNoRows) || err == nil && search < 0 {
		return 0, "", fmt.Errorf("the last key of the page before: %w: search again without a cursor", authz.ErrNotFound)
	}
	if err != nil {
		return 0, "", err
	}
	return search, values[search], nil
}
