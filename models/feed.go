package models

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"gorm.io/gorm"

	"extauthz/authz"
)

// outboxRow is a row of the change feed.
type outboxRow struct {
	Version uint64
	Kind    authz.ChangeKind
	Prefix  string
	KeyID   string
	UserID  string
	Role    string
	At      time.Time
}

// feedHead is what one snapshot says beside its rows.
type feedHead struct {
	Epoch   string
	Trimmed uint64 // versions up to here may be gone
	Now     time.Time
	Xmin    uint64 // of the snapshot, Postgres only
	Newest  uint64 // version, SQLite only
}

// ReadFeed returns all committed changes beyond the cursor.
//
// In Postgres a change of a lower version may commit after one of a higher
// version. So the cursor is not a version: it is the oldest transaction that
// was still open in the last snapshot, and what lies beyond it comes again with
// each read until that transaction ends. SQLite has one writer, so there the
// version is enough.
func (db *DB) ReadFeed(ctx context.Context, after authz.FeedCursor) (authz.FeedPage, error) {
	return db.readFeed(ctx, func(head feedHead, tx *gorm.DB) (*gorm.DB, bool) {
		if db.driver == Postgres {
			return tx.Where("xid >= ?::text::xid8", fmt.Sprint(after.XID)), after.Version < head.Trimmed
		}
		return tx.Where("version > ?", after.Version), after.Version < head.Trimmed
	})
}

// FeedStart returns the changes of the last window of time and the place from
// which to go on.
func (db *DB) FeedStart(ctx context.Context, window time.Duration) (authz.FeedPage, error) {
	return db.readFeed(ctx, func(head feedHead, tx *gorm.DB) (*gorm.DB, bool) {
		return tx.Where("at >= ?", head.Now.Add(-window)), false
	})
}

func (db *DB) readFeed(ctx context.Context, where func(feedHead, *gorm.DB) (q *gorm.DB, trimmed bool)) (authz.FeedPage, error) {
	var page authz.FeedPage
	// One snapshot for head and rows: the cursor must not pass what the rows
	// did not show. (SQLite's transactions are so anyway.)
	var options []*sql.TxOptions
	if db.driver == Postgres {
		options = append(options, &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true})
	}
	err := db.gorm.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		head, err := db.head(tx)
		if err != nil {
			return err
		}
		q, trimmed := where(head, tx.Table("outbox"))
		var rows []outboxRow
		if err := q.Order("version").Find(&rows).Error; err != nil {
			return err
		}
		page = authz.FeedPage{Epoch: head.Epoch, DBTime: head.Now, Trimmed: trimmed,
			Next: authz.FeedCursor{XID: head.Xmin, Version: head.Newest}}
		for _, r := range rows {
			page.Changes = append(page.Changes, authz.Change{Version: r.Version, Kind: r.Kind, Prefix: r.Prefix,
				KeyID: r.KeyID, UserID: r.UserID, Role: r.Role, At: r.At.UTC()})
		}
		return nil
	}, options...)
	return page, err
}

func (db *DB) head(tx *gorm.DB) (feedHead, error) {
	var h feedHead
	if db.driver == Postgres {
		// The timeline changes with a promotion, which may have lost commits.
		err := tx.Raw(`SELECT m.epoch || '/' || (SELECT timeline_id FROM pg_control_checkpoint()) AS epoch, m.trimmed,
			clock_timestamp() AS now, pg_snapshot_xmin(pg_current_snapshot())::text::bigint AS xmin,
			(SELECT coalesce(max(version), m.trimmed) FROM outbox) AS newest FROM extauthz_meta m`).Scan(&h).Error
		return h, err
	}
	err := tx.Raw(`SELECT m.epoch, m.trimmed, (SELECT value FROM change_seq) AS newest FROM extauthz_meta m`).Scan(&h).Error
	h.Now = time.Now().UTC() // the database is this process
	return h, err
}

// TrimOutbox drops changes older than age and remembers how far, so that a
// reader that fell behind starts anew.
func (db *DB) TrimOutbox(ctx context.Context, age time.Duration) error {
	return db.gorm.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		head, err := db.head(tx)
		if err != nil {
			return err
		}
		before := head.Now.Add(-age).UTC()
		if err := tx.Exec(`UPDATE extauthz_meta SET trimmed = (SELECT max(m) FROM (SELECT trimmed AS m FROM extauthz_meta
			UNION ALL SELECT max(version) FROM outbox WHERE at < ?) t)`, before).Error; err != nil {
			return err
		}
		return tx.Exec("DELETE FROM outbox WHERE at < ?", before).Error
	})
}
