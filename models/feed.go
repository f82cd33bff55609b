package models

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"extauthz/feed"
)

// maxFeedBytes bounds a page by bytes as well as by rows: texts that were written by SQL
// may be long. A page has at least one change, whatever its size.
const maxFeedBytes = 1 << 20

// feedDialect holds the SQL in which the databases differ. The position of a change is
// its version in SQLite, which has one writer, and the id of its transaction in Postgres.
type feedDialect struct {
	epoch    string // the epoch, from the row m of extauthz_meta
	random   string // a new random value for m.epoch
	now      string // the clock, read after the snapshot was taken
	given    string // the last version that was assigned
	snapshot string // the statement's snapshot, in the form that parseSnapshot reads
	below    string // the position up to which the statement sees every change
	marked   string // the snapshot of the row k of feed_marks
	position string // the position of the row o of outbox, in the form that is indexed
	number   string // the same position as a number
	past     string // true if this database has already assigned the position of the row o
	from     string // the placeholder for a position
}

var sqliteFeed = feedDialect{
	epoch:    "m.epoch",
	random:   "lower(hex(randomblob(16)))",
	now:      "strftime('%Y-%m-%d %H:%M:%f+00:00', 'now')",
	given:    "(SELECT value FROM change_seq)",
	snapshot: "(SELECT (value + 1) || ':' || (value + 1) || ':' FROM change_seq)",
	below:    "(SELECT value FROM change_seq)",
	marked:   "CASE k.snapshot WHEN '' THEN (k.place + 1) || ':' || (k.place + 1) || ':' ELSE k.snapshot END",
	position: "o.version",
	number:   "o.version",
	past:     "TRUE",
	from:     "?",
}

// postgresHistory identifies the history that transaction ids and versions belong to. It
// holds the timeline, which changes with a promotion, and the cluster's identifier, which
// changes if a dump is loaded into another cluster. On a standby it fails.
const postgresHistory = `left(pg_walfile_name(pg_current_wal_lsn()), 8) || '/' || (SELECT system_identifier FROM pg_control_system())`

// postgresFeed returns the SQL for Postgres; history adds [postgresHistory] to the epoch.
// In Postgres a change with a lower version may commit after one with a higher version.
// So a reader keeps the snapshot of its last read, and reads the changes that this
// snapshot did not include. No change comes twice, however long a transaction stays open.
// The epoch includes the table's id (tableoid), which differs after a dump was loaded
// over the database: the dump's rows may name transactions that have not begun here.
func postgresFeed(history bool) feedDialect {
	f := feedDialect{
		epoch:    "m.epoch || '/' || m.tableoid",
		random:   "gen_random_uuid()::text",
		now:      "clock_timestamp()",
		given:    "(SELECT last_value FROM change_version)",
		snapshot: "pg_current_snapshot()::text",
		below:    "pg_snapshot_xmin(pg_current_snapshot())::text::bigint",
		marked:   "CASE k.snapshot WHEN '' THEN k.place || ':' || k.place || ':' ELSE k.snapshot END",
		position: "o.xid",
		number:   "o.xid::text::bigint",
		past:     "o.xid < pg_snapshot_xmax(pg_current_snapshot())",
		from:     "?::text::xid8",
	}
	if history {
		f.epoch += " || '/' || " + postgresHistory
	}
	return f
}

// ReadFeed returns the next page of the changes that the cursor has not seen: at most
// rows changes (1 to [feed.MaxRows]) and about 1 MiB.
func (db *DB) ReadFeed(ctx context.Context, from feed.Cursor, rows int) (feed.Page, error) {
	sql, args := db.pageOf(from, rows)
	page, trimmed, err := db.readPage(ctx, from, rows, sql, args)
	page.Trimmed = !from.Seen.Covers(trimmed)
	return page, err
}

// FeedStart returns the present feed position, without the changes before it. Past is the
// cursor for reading those of the window: it begins at the newest mark that is at least
// as old as the window (see TrimOutbox), or at the first change if there is no such mark.
func (db *DB) FeedStart(ctx context.Context, window time.Duration) (feed.Start, error) {
	now, err := db.Now(ctx)
	if err != nil {
		return feed.Start{}, err
	}
	f := db.feed
	var marked []string
	err = db.read.WithContext(ctx).Raw(fmt.Sprintf(`SELECT %s FROM feed_marks k, extauthz_meta m WHERE m.id = 1 AND k.epoch = %s AND k.at <= ?
		ORDER BY k.id DESC LIMIT 1`, f.marked, f.epoch), now.Add(-window)).Scan(&marked).Error
	if err != nil {
		return feed.Start{}, fmt.Errorf("change feed can't be read: %w", err)
	}
	var start feed.Start
	if len(marked) > 0 {
		if start.Past.Seen, err = parseSnapshot(marked[0]); err != nil {
			return feed.Start{}, err
		}
	}
	start.Page, _, err = db.readPage(ctx, feed.Cursor{}, 0, db.noRows(), nil)
	start.Past.Target = start.Next.Seen
	return start, err
}

const feedColumns = "o.version, o.kind, o.prefix, o.key_id, o.user_id, o.role, o.at, %[1]s AS place, o.id"

func (db *DB) noRows() string {
	return fmt.Sprintf("SELECT "+feedColumns+" FROM outbox o WHERE FALSE", db.feed.number)
}

// pageOf returns the query for the rows of a page, in their order. Each part of the query
// reads a range of the index outbox_place from its start, and no more rows than a page
// has.
func (db *DB) pageOf(c feed.Cursor, rows int) (sql string, args []any) {
	f := db.feed
	within := f.past
	var target []any
	if c.Partial() {
		within = f.position + " < " + f.from
		target = []any{db.positionArg(c.Target.Next)}
		if len(c.Target.Open) > 0 {
			within += " AND o.xid <> ALL (?::text::xid8[])"
			target = append(target, positionsArg(c.Target.Open))
		}
	}
	limit := " ORDER BY " + f.position + ", o.id LIMIT " + strconv.Itoa(rows)
	selected := fmt.Sprintf("SELECT "+feedColumns+" FROM outbox o WHERE ", f.number)

	from, after := c.Seen.Next, feed.Row{}
	if c.After.Position >= from {
		from, after = c.After.Position, c.After
	}
	sql, args = selected+f.position+" >= "+f.from, []any{db.positionArg(from)}
	if after != (feed.Row{}) {
		sql += " AND (" + f.position + ", o.id) > (" + f.from + ", ?)"
		args = append(args, db.positionArg(after.Position), rowArg(after.ID))
	}
	sql, args = sql+" AND "+within+limit, append(args, target...)

	open := c.Seen.Open
	for len(open) > 0 && open[0] < c.After.Position {
		open = open[1:]
	}
	if len(open) == 0 || after != (feed.Row{}) {
		return sql, args
	}
	late := "SELECT o.* FROM unnest(?::text::xid8[]) AS x CROSS JOIN LATERAL (" + selected + "o.xid = x AND (o.xid, o.id) > (" + f.from + ", ?) AND " + within + limit + ") o"
	lateArgs := append([]any{positionsArg(open), db.positionArg(c.After.Position), rowArg(c.After.ID)}, target...)
	return "(" + late + ") UNION ALL (" + sql + ")", append(lateArgs, args...)
}

// positionArg returns a position as a parameter: a text in Postgres, whose type xid8 has
// no counterpart in Go, and a number in SQLite, which compares texts differently.
func (db *DB) positionArg(position uint64) any {
	if db.driver == Postgres {
		return strconv.FormatUint(position, 10)
	}
	return int64(position) // stays far below 2^63
}

func rowArg(id uint64) int64 { return int64(id) } // stays far below 2^63

func positionsArg(positions []uint64) string {
	texts := make([]string, len(positions))
	for i, p := range positions {
		texts[i] = strconv.FormatUint(p, 10)
	}
	return "{" + strings.Join(texts, ",") + "}"
}

// readPage reads the feed's state and a page's rows by one statement, and so in one
// snapshot and one round trip: the cursor must not pass changes that the rows did not
// include. trimmed is the snapshot of the changes that may have been deleted.
func (db *DB) readPage(ctx context.Context, from feed.Cursor, limit int, page string, args []any) (_ feed.Page, trimmed feed.Snapshot, err error) {
	f := db.feed
	rows, err := db.read.WithContext(ctx).Raw(fmt.Sprintf(`
		WITH now AS (SELECT %s AS epoch, m.why, %s AS given, %s AS now, %s AS snapshot FROM extauthz_meta m WHERE m.id = 1),
		head AS MATERIALIZED (SELECT now.*, COALESCE((SELECT %s FROM feed_marks k WHERE k.trimmed AND k.epoch = now.epoch ORDER BY k.id DESC LIMIT 1), '') AS trimmed FROM now)
		SELECT head.epoch, head.why, head.given, head.now, head.snapshot, head.trimmed, o.*
		FROM head LEFT JOIN (SELECT * FROM (%s) AS o ORDER BY o.place, o.id LIMIT %d) AS o ON TRUE ORDER BY o.place, o.id`,
		f.epoch, f.given, f.now, f.snapshot, f.marked, page, limit), args...).Rows()
	if err != nil {
		return feed.Page{}, trimmed, fmt.Errorf("change feed can't be read: %w", err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	read := feedReader{from: from, limit: limit}
	for !read.full() && rows.Next() {
		if err := read.row(rows); err != nil {
			return feed.Page{}, trimmed, fmt.Errorf("change feed can't be read: %w", err)
		}
	}
	if err := rows.Err(); err != nil {
		return feed.Page{}, trimmed, fmt.Errorf("change feed can't be read: %w", err)
	}
	if read.rows == 0 {
		return feed.Page{}, trimmed, errors.New("change feed can't be read: table extauthz_meta is empty")
	}
	return read.page, read.trimmed, nil
}
