package models

import (
	"context"
	"fmt"
	"time"
)

// ReplicaTerm is how long after its last beat a replica counts as living.
const ReplicaTerm = 15 * time.Second

// Beat records that this replica is alive, and returns the number of living replicas,
// which is 1 with SQLite.
func (db *DB) Beat(ctx context.Context, instance string) (living int, err error) {
	if db.driver == SQLite {
		return 1, nil
	}
	defer func() { db.recordWrite(err) }()
	err = db.gorm.WithContext(ctx).Raw(`
		WITH gone AS (DELETE FROM replicas WHERE at < clock_timestamp() - make_interval(secs => @kept) AND instance <> @instance),
		mine AS (INSERT INTO replicas (instance, at) VALUES (@instance, clock_timestamp()) ON CONFLICT (instance) DO UPDATE SET at = excluded.at)
		SELECT 1 + count(*) FROM replicas WHERE instance <> @instance AND at >= clock_timestamp() - make_interval(secs => @term)`,
		map[string]any{"instance": instance, "term": ReplicaTerm.Seconds(), "kept": 10 * ReplicaTerm.Seconds()}).Scan(&living).Error
	if err != nil {
		return 0, fmt.Errorf("living replicas can't be counted: %w", err)
	}
	return living, nil
}

// Leave records that this replica has ended.
func (db *DB) Leave(ctx context.Context, instance string) error {
	if db.driver == SQLite {
		return nil
	}
	if err := db.gorm.WithContext(ctx).Exec("DELETE FROM replicas WHERE instance = ?", instance).Error; err != nil {
		return fmt.Errorf("the end of this replica can't be recorded: %w", err)
	}
	return nil
}
