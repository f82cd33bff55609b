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
	// trimBatch is how many rows one statement deletes, so that none takes long.
	trimBatch = 10_000
	// MaxOutboxRows is how many changes are kept for readers that are behind by more than
	// [MinOutboxAge]. For a reader further behind, dropping all its cached entries is
	// less work than reading more changes.
	MaxOutboxRows = 100_000
	// MinOutboxAge is how long a change is kept at least.
	MinOutboxAge = 5 * time.Minute
)

// TrimOutbox sets a mark at the feed's present state, and deletes the changes that the
// newest mark older than age includes. If there are more than [MaxOutboxRows] changes,
// age is [MinOutboxAge] at most. A reader that has not seen the deleted changes gets
// feed.Page.Trimmed. TrimOutbox has to be called every few minutes: the past of
// [DB.FeedStart] reaches beyond its window by up to the time between two calls. All
// replicas may call it.
//
// Marks define which changes are old, not a row's own time. A row's time is that of the
// change, but readers see the row only when its transaction has been committed, which may
// be much later. A mark is a snapshot, so a transaction that stays open keeps only its
// own rows from being deleted.
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

// insertMark sets a mark at the present state, with the last version that was assigned.
func (db *DB) insertMark(tx *gorm.DB) error {
	f := db.feed
	return tx.Exec(fmt.Sprintf(`INSERT INTO feed_marks (epoch, place, snapshot, at, trimmed, version)
		SELECT %s, %s, %s, %s, FALSE, %s FROM extauthz_meta m WHERE m.id = 1`, f.epoch, f.below, f.snapshot, f.now, f.given)).Error
}

// mark sets a mark at the present state. It returns the snapshot of the newest mark older
// than age, and records that mark as trimmed, before any change is deleted. The snapshot
// is empty if no mark is so old.
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
