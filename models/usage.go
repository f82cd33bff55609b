package models

import (
	"context"
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

const usageBatch = 500 // rows a statement, under every database's limit of parameters

// AddUsage adds counts; last_used_at moves forward only. All of it is written,
// or nothing.
func (db *DB) AddUsage(ctx context.Context, usage []authz.Usage) error {
	if len(usage) == 0 {
		return nil
	}
	rows := make([]usageRow, len(usage))
	for i, u := range usage {
		rows[i] = usageRow{u.KeyID, u.Count, u.LastUsedAt.UTC().Truncate(time.Microsecond)}
	}
	return db.gorm.WithContext(ctx).Clauses(clause.OnConflict{
		Columns: []clause.Column{{Name: "key_id"}},
		DoUpdates: clause.Assignments(map[string]any{
			"count":        gorm.Expr("key_usage.count + excluded.count"),
			"last_used_at": gorm.Expr("CASE WHEN excluded.last_used_at > key_usage.last_used_at THEN excluded.last_used_at ELSE key_usage.last_used_at END"),
		}),
	}).CreateInBatches(rows, usageBatch).Error
}

// Usage leaves out keys that were never used.
func (db *DB) Usage(ctx context.Context, keyIDs []string) ([]authz.Usage, error) {
	if len(keyIDs) == 0 {
		return nil, nil
	}
	var rows []usageRow
	if err := db.gorm.WithContext(ctx).Where("key_id IN ?", keyIDs).Find(&rows).Error; err != nil {
		return nil, err
	}
	out := make([]authz.Usage, len(rows))
	for i, r := range rows {
		out[i] = authz.Usage{KeyID: r.KeyID, Count: r.Count, LastUsedAt: r.LastUsedAt.UTC()}
	}
	return out, nil
}
