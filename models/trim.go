package models

import (
	"context"
	"errors"
	"fmt"
	"time"

	"gorm.io/gorm"
)

// trimBatch is how many rows one statement drops, so that none takes long.
const trimBatch = 10_000

// TrimOutbox marks the feed's present place, and drops the changes that were
// committed before the newest mark that is older than age; a reader that is
// still there will be told (authz.FeedPage.Trimmed). It has to be called every
// few minutes: how far [DB.FeedStart] reaches beyond its window is the time
// between two calls. Replicas may all call it.
//
// Marks, and not the time that a row bears, say what is old: a row is written
// when it is changed, and seen when its transaction is committed, which may be
// much later.
func (db *DB) TrimOutbox(ctx context.Context, age time.Duration) error {
	place, err := db.mark(ctx, age)
	if err != nil {
		return fmt.Errorf("change feed can't be trimmed: %w", err)
	}
	f := db.feed
	drop := fmt.Sprintf("DELETE FROM outbox WHERE id IN (SELECT o.id FROM outbox o WHERE "+f.before+" OR %s LIMIT %d)", "?", f.alien, trimBatch)
	for {
		res := db.gorm.WithContext(ctx).Exec(drop, place)
		if res.Error != nil {
			return fmt.Errorf("change feed can't be trimmed: %w", res.Error)
		}
		if res.RowsAffected < trimBatch {
			return nil
		}
	}
}

// mark sets a mark at the present place and returns the place of the newest one
// older than age, which from now on counts as trimmed: before anything is
// dropped. It is 0 if no mark is so old.
func (db *DB) mark(ctx context.Context, age time.Duration) (place int64, err error) {
	f := db.feed
	now, err := db.Now(ctx)
	if err != nil {
		return 0, err
	}
	err = db.gorm.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		if err := tx.Exec(fmt.Sprintf(`INSERT INTO feed_marks (epoch, place, at, trimmed, version)
			SELECT %s, %s, %s, FALSE, %s FROM extauthz_meta m WHERE m.id = 1`, f.epoch, f.here, f.now, f.given)).Error; err != nil {
			return err
		}
		var old struct{ ID, Place int64 }
		err := tx.Raw(fmt.Sprintf(`SELECT k.id, k.place FROM feed_marks k, extauthz_meta m
			WHERE m.id = 1 AND k.epoch = %s AND k.at <= ? ORDER BY k.id DESC LIMIT 1`, f.epoch), now.Add(-age)).Take(&old).Error
		if errors.Is(err, gorm.ErrRecordNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		place = old.Place
		if err := tx.Exec("UPDATE feed_marks SET trimmed = TRUE WHERE id = ?", old.ID).Error; err != nil {
			return err
		}
		return tx.Exec("DELETE FROM feed_marks WHERE id < ?", old.ID).Error
	})
	return place, err
}
