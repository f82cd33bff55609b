package models

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"extauthz/authz"
)

// usageRow is a row of key_usage, a table separate from api_keys so that use changes no
// version.
type usageRow struct {
	KeyID      string    `gorm:"primaryKey"`
	Count      uint64    `gorm:"serializer:typed"`
	LastUsedAt time.Time `gorm:"serializer:typed"`
}

// TableName is GORM's way of naming the table.
func (usageRow) TableName() string { return "key_usage" }

// rowsAtOnce is how many rows or ids one statement takes. It is below both databases'
// limits of parameters.
const rowsAtOnce = 500

// usageMark records the added batches of one source: those up to Sequence, and those in
// Beyond (usagemarks.go).
type usageMark struct {
	Source   string `gorm:"primaryKey"`
	Sequence uint64
	Beyond   string
	At       time.Time
}

// TableName is GORM's way of naming the table.
func (usageMark) TableName() string { return "usage_marks" }

// AddUsage adds those batches that were not added before. A batch is identified by its
// source and sequence. Batches may come in any order, so any replica may repeat one whose
// outcome is unknown. last_used_at moves forward only. Either everything is written or
// nothing. AddUsage returns how many uses were added.
func (db *DB) AddUsage(ctx context.Context, batches []authz.UsageBatch) (added uint64, err error) {
	if len(batches) == 0 {
		return 0, nil
	}
	defer func() { db.recordWrite(err) }()
	err = db.gorm.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		fresh, err := db.claimUsage(tx, batches)
		if err != nil {
			return fmt.Errorf("usage can't be claimed: %w", err)
		}
		added = 0
		for _, b := range fresh {
			added += b.Uses()
		}
		rows := usageRows(fresh)
		if len(rows) == 0 {
			return nil
		}
		err = tx.Clauses(clause.OnConflict{
			Columns: []clause.Column{{Name: "key_id"}},
			DoUpdates: clause.Assignments(map[string]any{
				"count":        gorm.Expr("key_usage.count + excluded.count"),
				"last_used_at": gorm.Expr("CASE WHEN excluded.last_used_at > key_usage.last_used_at THEN excluded.last_used_at ELSE key_usage.last_used_at END"),
			}),
		}).CreateInBatches(rows, rowsAtOnce).Error
		if err != nil {
			return fmt.Errorf("usage can't be written: %w", err)
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	return added, nil
}

// claimUsage marks the batches and returns those that were not marked before. It
// locks the marks in the order of sources, so that writers of the same batches
// wait for one another and don't deadlock.
func (db *DB) claimUsage(tx *gorm.DB, batches []authz.UsageBatch) (fresh []authz.UsageBatch, err error) {
	bySource := make(map[string][]authz.UsageBatch)
	for _, b := range batches {
		bySource[b.Source] = append(bySource[b.Source], b)
	}
	now := time.Now().UTC()
	for _, source := range slices.Sorted(maps.Keys(bySource)) {
		mark := usageMark{Source: source, At: now}
		if err := tx.Clauses(clause.OnConflict{DoNothing: true}).Create(&mark).Error; err != nil {
			return nil, err
		}
		q := tx
		if db.driver == Postgres {
			q = q.Clauses(clause.Locking{Strength: "UPDATE"})
		}
		if err := q.Take(&mark, "source = ?", source).Error; err != nil {
			return nil, err
		}
		added, err := parseSequences(mark.Sequence, mark.Beyond)
		if err != nil {
			return nil, err
		}
		before := len(fresh)
		for _, b := range bySource[source] {
			if added.add(b.Sequence) {
				fresh = append(fresh, b)
			}
		}
		if len(fresh) == before {
			continue
		}
		if err := tx.Model(&mark).Updates(map[string]any{"sequence": added.low, "beyond": added.text(), "at": now}).Error; err != nil {
			return nil, err
		}
	}
	return fresh, nil
}

// usageRows sums batches up to one row for each key, since one statement can't change a
// row twice. The rows are in the order of ids, so that writers wait for one another and
// don't deadlock.
func usageRows(batches []authz.UsageBatch) []usageRow {
	sum := make(map[string]usageRow)
	for _, b := range batches {
		for _, u := range b.Usage {
			r := sum[u.KeyID]
			r.KeyID, r.Count = u.KeyID, r.Count+u.Count
			if at := instant(u.LastUsedAt); at.After(r.LastUsedAt) {
				r.LastUsedAt = at
			}
			sum[u.KeyID] = r
		}
	}
	rows := make([]usageRow, 0, len(sum))
	for _, id := range slices.Sorted(maps.Keys(sum)) {
		rows = append(rows, sum[id])
	}
	return rows
}

// TrimUsageMarks deletes the marks of sources that wrote nothing since the given time. No
// batch of such a source may still be added later: without the mark it could be counted
// twice.
func (db *DB) TrimUsageMarks(ctx context.Context, before time.Time) error {
	return db.gorm.WithContext(ctx).Delete(&usageMark{}, "at < ?", before.UTC()).Error
}

// Usage returns the usage of these keys. It leaves out keys that were never used.
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
