package models

import (
	"database/sql"
	"fmt"
	"strconv"
	"strings"
	"time"

	"extauthz/authz"
	"extauthz/feed"
)

// feedReader reads the rows of one statement: each holds the statement's snapshot,
// and a change if there is one.
type feedReader struct {
	from    feed.Cursor
	limit   int
	page    feed.Page
	trimmed feed.Snapshot
	rows    int
	bytes   int
	last    feed.Row
}

// full reports whether the page is full, and sets the cursor for the next page.
func (r *feedReader) full() bool {
	if r.rows == 0 {
		return false
	}
	target := r.from.Target
	if !r.from.Partial() {
		target = r.page.Snapshot
	}
	more := len(r.page.Changes) > 0 && len(r.page.Changes) == r.limit || r.bytes >= maxFeedBytes
	if more {
		r.page.Next = feed.Cursor{Seen: r.from.Seen, Target: target, After: r.last}
	} else {
		r.page.Next = feed.Cursor{Seen: target}
	}
	return more
}

func (r *feedReader) row(rows *sql.Rows) error {
	var head [6]sql.RawBytes // the same in each row: parsed in the first one only, and skipped here without a copy
	columns := []any{&head[0], &head[1], &head[2], &head[3], &head[4], &head[5]}
	var first struct {
		epoch, why, snapshot, trimmed string
		given                         uint64
		now                           feedTime
	}
	if r.rows == 0 {
		columns = []any{&first.epoch, &first.why, &first.given, &first.now, &first.snapshot, &first.trimmed}
	}
	var c struct {
		version, kind, place, id    sql.Null[int64]
		prefix, keyID, userID, role sql.Null[string]
		at                          feedTime
	}
	if err := rows.Scan(append(columns, &c.version, &c.kind, &c.prefix, &c.keyID, &c.userID, &c.role, &c.at, &c.place, &c.id)...); err != nil {
		return err
	}
	if r.rows++; r.rows == 1 {
		var err error
		if r.page.Snapshot, err = parseSnapshot(first.snapshot); err != nil {
			return err
		}
		if first.trimmed != "" {
			if r.trimmed, err = parseSnapshot(first.trimmed); err != nil {
				return err
			}
		}
		r.page.Epoch, r.page.Why, r.page.Version, r.page.DBTime = first.epoch, first.why, first.given, time.Time(first.now)
	}
	if !c.id.Valid {
		return nil
	}
	r.last = feed.Row{Position: uint64(c.place.V), ID: uint64(c.id.V)} // never negative
	r.bytes += len(c.prefix.V) + len(c.keyID.V) + len(c.userID.V) + len(c.role.V)
	r.page.Changes = append(r.page.Changes, authz.Change{
		Version: uint64(c.version.V), Kind: authz.ChangeKind(c.kind.V), Prefix: c.prefix.V, // as above
		KeyID: c.keyID.V, UserID: c.userID.V, Role: c.role.V, Position: r.last.Position, At: time.Time(c.at),
	})
	return nil
}

// parseSnapshot parses Postgres's text of a snapshot: xmin:xmax:xip,xip.
func parseSnapshot(text string) (s feed.Snapshot, err error) {
	parts := strings.Split(text, ":")
	if len(parts) != 3 {
		return s, fmt.Errorf("snapshot %q can't be read", text)
	}
	if s.Next, err = strconv.ParseUint(parts[1], 10, 64); err != nil {
		return s, fmt.Errorf("snapshot %q can't be read: %w", text, err)
	}
	if parts[2] == "" {
		return s, nil
	}
	for open := range strings.SplitSeq(parts[2], ",") {
		place, err := strconv.ParseUint(open, 10, 64)
		if err != nil {
			return s, fmt.Errorf("snapshot %q can't be read: %w", text, err)
		}
		s.Open = append(s.Open, place)
	}
	return s, nil
}

// feedTime reads a time from either database. SQLite has no type for times, and returns a
// computed one as a text. NULL is the zero time.
type feedTime time.Time

// Scan implements [sql.Scanner].
func (i *feedTime) Scan(value any) error {
	switch v := value.(type) {
	case nil:
		*i = feedTime{}
	case time.Time:
		*i = feedTime(v.UTC())
	case string:
		t, err := time.Parse("2006-01-02 15:04:05.999999999Z07:00", v)
		if err != nil {
			return err
		}
		*i = feedTime(t.UTC())
	default:
		return fmt.Errorf("a %T is no time", value)
	}
	return nil
}
