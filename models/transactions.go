package models

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"gorm.io/gorm"
)

// OpenTransaction is a transaction that has written, or is about to, and is not over.
type OpenTransaction struct {
	PID         int // 0 for a prepared transaction, which no process holds
	Database    string
	User        string
	Application string // "prepared transaction NAME" for a prepared one
	State       string // such as "idle in transaction"; "" if the database hides it
	// Age is how long it has been open. From roles without pg_read_all_stats the database
	// hides this for sessions of other roles. Age is then a lower bound.
	Age time.Duration
}

// Name identifies an open transaction.
func (t OpenTransaction) Name() string {
	if t.PID == 0 {
		return t.Application
	}
	return fmt.Sprint("process ", t.PID)
}

func (t OpenTransaction) String() string {
	text := t.Application
	if t.PID != 0 {
		text = fmt.Sprintf("process %d (%s)", t.PID, cmp.Or(t.Application, "no application name"))
	}
	text = fmt.Sprintf("%s of user %s in database %s", text, t.User, t.Database)
	if t.State != "" {
		text += ", " + t.State
	}
	return fmt.Sprintf("%s, open for %s", text, t.Age.Round(time.Second))
}

// OldTransactions returns the transactions of the whole cluster that are open for longer
// than age, the oldest first. Each of them keeps Postgres from cleaning up after changed
// rows, the outbox's among them, and makes the feed's snapshots longer. SQLite has none.
func (db *DB) OldTransactions(ctx context.Context, age time.Duration) ([]OpenTransaction, error) {
	if db.driver == SQLite {
		return nil, nil
	}
	old, err := oldTransactions(db.read.WithContext(ctx), age)
	if err != nil {
		return nil, fmt.Errorf("open transactions can't be listed: %w", oneLine(err))
	}
	return old, nil
}

func oldTransactions(q *gorm.DB, age time.Duration) (old []OpenTransaction, err error) {
	var rows []struct {
		PID                                int `gorm:"column:pid"`
		Database, User, Application, State string
		Since                              *time.Time
		Now                                time.Time
		Marked                             *time.Time // time of the newest mark that is old enough, if this transaction was open then
	}
	// A mark shows that a transaction was open then, even if the session's details are hidden.
	// xid is the transaction's number without its epoch, as sessions show it.
	err = q.Raw(`
		WITH marked AS (SELECT m.at, x % 4294967296 AS xid FROM (SELECT at, snapshot FROM feed_marks WHERE at <= clock_timestamp() - make_interval(secs => @age) ORDER BY id DESC LIMIT 1) m,
			unnest(string_to_array(split_part(m.snapshot, ':', 3), ',')::bigint[]) AS x),
		running AS (SELECT pid, COALESCE(datname, '') AS database, COALESCE(usename, '') AS "user", COALESCE(application_name, '') AS application,
				COALESCE(state, '') AS state, xact_start AS since, backend_xid::text::bigint AS xid FROM pg_stat_activity WHERE backend_xid IS NOT NULL
			UNION ALL SELECT 0, database, owner, 'prepared transaction ' || gid, '', prepared, transaction::text::bigint FROM pg_prepared_xacts)
		SELECT running.*, clock_timestamp() AS now, marked.at AS marked FROM running LEFT JOIN marked USING (xid)`,
		map[string]any{"age": age.Seconds()}).Scan(&rows).Error
	if err != nil {
		return nil, err
	}
	for _, r := range rows {
		t := OpenTransaction{PID: r.PID, Database: r.Database, User: r.User, Application: r.Application, State: r.State}
		switch {
		case r.Since != nil:
			t.Age = r.Now.Sub(*r.Since)
		case r.Marked != nil:
			t.Age = r.Now.Sub(*r.Marked)
		}
		if t.Age >= age {
			old = append(old, t)
		}
	}
	slices.SortFunc(old, func(a, b OpenTransaction) int { return cmp.Compare(b.Age, a.Age) })
	return old, nil
}
