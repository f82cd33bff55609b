package models

import (
	"context"
	"maps"
	"slices"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"extauthz/authz"
)

// usageRow is a row of key_usage: apart from api_keys, so that use changes no
// version.
type usageRow struct {
	KeyID      string `gorm:"primaryKey"`
	Count      uint64
	LastUsedAt time.Time
}

// TableName is GORM's way of naming the table.
func (usageRow) TableName() string { return "key_usage" }

// rowsAtOnce is how many rows or ids one statement takes: under both databases'
// limit of parameters.
const rowsAtOnce = 500

// AddUsage adds counts; last_used_at moves forward only. All of it is written,
// or nothing. A key may come more than once.
func (db *DB) AddUsage(ctx context.Context, usage []authz.Usage) error {
	if len(usage) == 0 {
		return nil
	}
	// In the order of ids, so that replicas that write at once wait for one
	// another and don't deadlock; each once, as one statement demands.
	sum := make(map[string]usageRow, len(usage))
	for _, u := range usage {
		r := sum[u.KeyID]
		r.KeyID, r.Count = u.KeyID, r.Count+u.Count
		if at := instant(u.LastUsedAt); at.After(r.LastUsedAt) {
			r.LastUsedAt = at
		}
		sum[u.KeyID] = r
	}
	rows := make([]usageRow, 0, len(sum))
	for _, id := range slices.Sorted(maps.Keys(sum)) {
		rows = append(rows, sum[id])
	}
	return db.gorm.WithContext(ctx).Clauses(clause.OnConflict{
		Columns: []clause.Column{{Name: "key_id"}},
		DoUpdates: clause.Assignments(map[string]any{
			"count":        gorm.Expr("key_usage.count + excluded.count"),
			"last_used_at": gorm.Expr("CASE WHEN excluded.last_used_at > key_usage.last_used_at THEN excluded.last_used_at ELSE key_usage.last_used_at END"),
		}),
	}).CreateInBatches(rows, rowsAtOnce).Error
}

// Usage leaves out keys that were never used.
func (db *DB) Usage(ctx context.Context, keyIDs []string) ([]authz.Usage, error) {
	var out []authz.Usage
	for some := range slices.Chunk(keyIDs, rowsAtOnce) {
		var rows []usageRow
		if err := db.read.WithContext(ctx).Where("key_id IN ?", some).Find(&rows).Error; err != nil {
			return nil, err
		}
		for _, r := range rows {
			out = append(out, authz.Usage{KeyID: r.KeyID, Count: r.Count, LastUsedAt: r.LastUsedAt.UTC()})
		}
	}
	return out, nil
}
