package models

import (
	"context"
	"errors"
	"fmt"
	"time"

	"gorm.io/gorm"

	"extauthz/feed"
)

const (
	// trimBatch is how many rows one statement drops, so that none takes long.
	trimBatch = 10_000
	// MaxOutboxRows is how many changes are kept for readers that are behind by more
	// than [MinOutboxAge]. Dropping all entries is less work for such a
	// reader than reading more changes.
	MaxOutboxRows = 100_000
	// MinOutboxAge is how long a change is kept at least.
	MinOutboxAge = 5 * time.Minute
)

// TrimOutbox marks the feed's present state, and drops the changes that were in the
// newest mark that is older than age, or than [MinOutboxAge] where there are more than
// [MaxOutboxRows]; a reader that has not seen them gets feed.Page.Trimmed. It has to
// be called every few minutes: the past of [DB.FeedStart] reaches beyond its window by
// the time between two calls. Replicas may all call it.
//
// Marks, and not a row's own time, define what is old: a row's time is that of the
// change, and the row is seen when its transaction is committed, which may be much later.
// A mark is a snapshot, so a transaction that stays open holds back its own rows and no
// others.
func (db *DB) TrimOutbox(ctx context.Context, age time.Duration) error {
	many, err := db.manyChanges(ctx)
	if err != nil {
		return fmt.Errorf("change feed can't be trimmed: %w", err)
	}
	if many {
		age = min(age, MinOutboxAge)
	}
	seen, err := db.mark(ctx, age)
	if err != nil {
		return fmt.Errorf("change feed can't be trimmed: %w", err)
	}
	f := db.feed
	where, args := f.position+" < "+f.from, []any{db.positionArg(seen.Next)}
	if len(seen.Open) > 0 {
		where += " AND o.xid <> ALL (?::text::xid8[])"
		args = append(args, positionsArg(seen.Open))
	}
	drop := fmt.Sprintf("DELETE FROM outbox WHERE id IN (SELECT o.id FROM outbox o WHERE %s OR NOT (%s) LIMIT %d)", where, f.past, trimBatch)
	for {
		res := db.gorm.WithContext(ctx).Exec(drop, args...)
		if res.Error != nil {
			return fmt.Errorf("change feed can't be trimmed: %w", res.Error)
		}
		if res.RowsAffected < trimBatch {
			return nil
		}
	}
}

func (db *DB) manyChanges(ctx context.Context) (many bool, err error) {
	err = db.read.WithContext(ctx).Raw("SELECT EXISTS (SELECT 1 FROM outbox o ORDER BY " + db.feed.position + fmt.Sprintf(" LIMIT 1 OFFSET %d)", MaxOutboxRows)).Row().Scan(&many)
	return many, err
}

// insertMark sets a mark at the present state, with the last version that was given.
func (db *DB) insertMark(tx *gorm.DB) error {
	f := db.feed
	return tx.Exec(fmt.Sprintf(`INSERT INTO feed_marks (epoch, place, snapshot, at, trimmed, version)
		SELECT %s, %s, %s, %s, FALSE, %s FROM extauthz_meta m WHERE m.id = 1`, f.epoch, f.below, f.snapshot, f.now, f.given)).Error
}

// mark sets a mark at the present state and returns that of the newest one older than
// age, which from now on counts as trimmed: before anything is dropped. It holds
// nothing if no mark is so old.
func (db *DB) mark(ctx context.Context, age time.Duration) (seen feed.Snapshot, err error) {
	f := db.feed
	now, err := db.Now(ctx)
	if err != nil {
		return seen, err
	}
	err = db.gorm.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		if err := db.insertMark(tx); err != nil {
			return err
		}
		var old struct {
			ID       int64
			Snapshot string
		}
		err := tx.Raw(fmt.Sprintf(`SELECT k.id, %s AS snapshot FROM feed_marks k, extauthz_meta m
			WHERE m.id = 1 AND k.epoch = %s AND k.at <= ? ORDER BY k.id DESC LIMIT 1`, f.marked, f.epoch), now.Add(-age)).Take(&old).Error
		if errors.Is(err, gorm.ErrRecordNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		if seen, err = parseSnapshot(old.Snapshot); err != nil {
			return err
		}
		if err := tx.Exec("UPDATE feed_marks SET trimmed = TRUE WHERE id = ?", old.ID).Error; err != nil {
			return err
		}
		return tx.Exec("DELETE FROM feed_marks WHERE id < ?", old.ID).Error
	})
	return seen, err
}
