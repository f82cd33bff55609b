package models

import (
	"context"
	"fmt"
	"time"

	"extauthz/authz"
)

// feedDialect is what the databases say differently. A place is one number: in
// SQLite, which has one writer, the version reached; in Postgres a transaction.
type feedDialect struct {
	epoch  string // of the row m of extauthz_meta
	random string // a new value for that row's own part of it
	now    string // the clock, read after the snapshot was taken
	given  string // the last version that was given
	here   string // the place that a reader of this very snapshot has reached
	place  string // of a row of outbox o: every snapshot whose here is higher shows the row
	after  string // rows of outbox o beyond a place, which stands for %s
	before string // the others
	alien  string // rows that can't be of this database's history
}

var sqliteFeed = feedDialect{
	epoch:  "m.epoch",
	random: "lower(hex(randomblob(16)))",
	now:    "strftime('%Y-%m-%d %H:%M:%f+00:00', 'now')",
	given:  "(SELECT value FROM change_seq)",
	here:   "(SELECT value FROM change_seq)",
	place:  "o.version - 1",
	after:  "o.version > %s",
	before: "o.version <= %s",
	alien:  "FALSE",
}

// postgresHistory names what transaction ids and versions belong to: the
// timeline, which changes with a promotion, and the cluster, which changes
// where a dump is loaded into another one. On a standby it fails.
const postgresHistory = `left(pg_walfile_name(pg_current_wal_lsn()), 8) || '/' || (SELECT system_identifier FROM pg_control_system())`

// postgresFeed: in Postgres a change of a lower version may commit after one of
// a higher version. So the place is the oldest transaction that was still open
// in the snapshot; what lies beyond it comes again with each read until that
// transaction ends. The table's own id tells a dump that was loaded over it.
func postgresFeed(history bool) feedDialect {
	f := feedDialect{
		epoch:  "m.epoch || '/' || m.tableoid",
		random: "gen_random_uuid()::text",
		now:    "clock_timestamp()",
		given:  "(SELECT last_value FROM change_version)",
		here:   "pg_snapshot_xmin(pg_current_snapshot())::text::bigint",
		place:  "o.xid::text::bigint",
		after:  "o.xid >= %s::text::xid8",
		before: "o.xid < %s::text::xid8",
		alien:  "o.xid >= pg_snapshot_xmax(pg_current_snapshot())",
	}
	if history {
		f.epoch += " || '/' || " + postgresHistory
	}
	return f
}

// ReadFeed returns all committed changes beyond the cursor.
func (db *DB) ReadFeed(ctx context.Context, after authz.FeedCursor) (authz.FeedPage, error) {
	place := int64(after.Place()) //nolint:gosec // stays far below 2^63
	page, trimmedTo, err := db.feedFrom(ctx, "?", place)
	page.Trimmed = place < trimmedTo
	return page, err
}

// FeedStart returns at least the changes that were committed within the last
// window of time, and the cursor from which to go on. It begins at the newest
// mark that is as old as the window (see TrimOutbox); without one, everything
// that is kept comes.
func (db *DB) FeedStart(ctx context.Context, window time.Duration) (authz.FeedPage, error) {
	now, err := db.Now(ctx)
	if err != nil {
		return authz.FeedPage{}, err
	}
	page, _, err := db.feedFrom(ctx, `COALESCE((SELECT max(k.place) FROM feed_marks k
		WHERE k.epoch = (SELECT epoch FROM head) AND k.at <= ?), 0)`, now.Add(-window))
	return page, err
}

// feedRow is what one snapshot says, and a change beside it if there is any.
type feedRow struct {
	Epoch   string
	Why     string
	Given   uint64
	Now     time.Time
	Here    uint64
	Trimmed int64 // rows up to this place may be gone

	Version uint64 // 0: no change
	Kind    authz.ChangeKind
	Prefix  string
	KeyID   string
	UserID  string
	Role    string
	At      time.Time
	Place   uint64
}

// feedFrom reads in one statement, and so in one snapshot and one round trip:
// the cursor must not pass what the rows did not show.
func (db *DB) feedFrom(ctx context.Context, place string, arg any) (page authz.FeedPage, trimmedTo int64, err error) {
	f := db.feed
	var rows []feedRow
	err = db.read.WithContext(ctx).Raw(fmt.Sprintf(`
		WITH now AS (SELECT %s AS epoch, m.why, %s AS given, %s AS now, %s AS here FROM extauthz_meta m WHERE m.id = 1),
		head AS MATERIALIZED (SELECT now.*, COALESCE((SELECT max(k.place) FROM feed_marks k WHERE k.trimmed AND k.epoch = now.epoch), 0) AS trimmed FROM now)
		SELECT head.*, o.version, o.kind, o.prefix, o.key_id, o.user_id, o.role, o.at, %s AS place
		FROM head LEFT JOIN outbox o ON `+f.after+` ORDER BY o.version`, f.epoch, f.given, f.now, f.here, f.place, place), arg).Scan(&rows).Error
	if err != nil {
		return page, 0, fmt.Errorf("change feed can't be read: %w", err)
	}
	if len(rows) == 0 {
		return page, 0, fmt.Errorf("change feed can't be read: table extauthz_meta is empty")
	}
	head := rows[0]
	page.Epoch, page.Why, page.Version, page.DBTime = head.Epoch, head.Why, head.Given, head.Now.UTC()
	if db.driver == Postgres {
		page.Next.XID = head.Here
	} else {
		page.Next.Version = head.Here
	}
	for _, r := range rows {
		if r.Version != 0 {
			page.Changes = append(page.Changes, authz.Change{Version: r.Version, Kind: r.Kind, Prefix: r.Prefix,
				KeyID: r.KeyID, UserID: r.UserID, Role: r.Role, Place: r.Place, At: r.At.UTC()})
		}
	}
	return page, head.Trimmed, nil
}
