package models

import (
	"context"
	"strings"

	"gorm.io/gorm"
)

// UnreadableRow names a row that can't be read since someone wrote it by hand. The
// key is refused, or the role's keys are, until Column is repaired.
type UnreadableRow struct {
	Table  string // "api_keys" or "roles"
	ID     string // of the key, or the role's name
	Prefix string // of the key
	Column string // the first one that can't be read
	Why    string
}

// readAtOnce is how many rows one statement of [DB.Unreadable] brings.
const readAtOnce = 1000

// Unreadable returns up to limit rows that can't be read and may be in use: roles, then
// keys that are not revoked. It reads all rows, page by page, which took 210 s for a
// million of them in SQLite on a busy machine: for a check that a person asks for.
func (db *DB) Unreadable(ctx context.Context, limit int) ([]UnreadableRow, error) {
	var found []UnreadableRow
	roles, err := findRoles(db.read.WithContext(ctx))
	if err != nil {
		return nil, err
	}
	for i := range roles {
		if why := roles[i].listed().Unreadable; why != "" {
			column, why, _ := strings.Cut(strings.TrimPrefix(why, "column "), ": ")
			found = append(found, UnreadableRow{Table: "roles", ID: roles[i].Name, Column: column, Why: why})
		}
	}
	pages := db.read.WithContext(ctx).Order("id").Limit(readAtOnce).Session(&gorm.Session{})
	for last := ""; len(found) < limit; {
		var rows []keyRow
		if err := pages.Where("id > ?", last).Find(&rows).Error; err != nil {
			return nil, err
		}
		for i := range rows {
			if column, why := rows[i].fault(); why != nil && rows[i].RevokedAt == nil {
				found = append(found, UnreadableRow{Table: "api_keys", ID: rows[i].ID, Prefix: rows[i].KeyPrefix, Column: column, Why: why.Error()})
			}
		}
		if len(rows) < readAtOnce {
			break
		}
		last = rows[len(rows)-1].ID
	}
	return found[:min(limit, len(found))], nil
}

// fault returns the first column that can't be read.
func (r *keyRow) fault() (column string, err error) {
	if _, column, err = r.read(); err != nil {
		return column, err
	}
	if _, err = r.verifier(); err != nil {
		return "key_hash", err
	}
	return "", nil
}
