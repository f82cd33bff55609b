package models

import (
	"testing"
	"time"

	"extauthz/feed"
)

// TestTrimOutbox_ManyChangesAreKeptForLess: with more than MaxOutboxRows changes, the
// outbox keeps only those younger than MinOutboxAge. A reader that begins then is
// informed that the window has a gap.
func TestTrimOutbox_ManyChangesAreKeptForLess(t *testing.T) {
	each(t, func(t *testing.T, db *DB) {
		insert(t, db, newKey(t, nil))
		kept := func() (n int) {
			t.Helper()
			if err := db.gorm.Raw("SELECT count(*) FROM outbox").Row().Scan(&n); err != nil {
				t.Fatal(err)
			}
			return n
		}
		trim := func() {
			t.Helper()
			if err := db.TrimOutbox(t.Context(), time.Hour); err != nil {
				t.Fatal(err)
			}
		}
		older := func() {
			t.Helper()
			if db.driver == SQLite {
				run(t, db, "UPDATE feed_marks SET at = strftime('%Y-%m-%d %H:%M:%f+00:00', at, '-6 minutes')")
			} else {
				run(t, db, "UPDATE feed_marks SET at = at - interval '6 minutes'")
			}
		}
		trim()
		older()
		if trim(); kept() != 1 {
			t.Fatalf("%d changes are kept of one that is younger than the window", kept())
		}
		if db.driver == SQLite {
			run(t, db, "UPDATE change_seq SET value = value + 1") // a trigger does the same
			run(t, db, `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)
				INSERT INTO outbox (version, kind, prefix, at) SELECT (SELECT value FROM change_seq), 1, 'many', '2026-01-01 00:00:00+00:00' FROM n`, MaxOutboxRows+1)
		} else {
			run(t, db, "INSERT INTO outbox (version, kind, prefix) SELECT 1, 1, 'many' FROM generate_series(1, ?)", MaxOutboxRows+1)
		}
		if trim(); kept() != MaxOutboxRows+1 {
			t.Errorf("%d changes are kept: what is younger than %s stays", kept(), MinOutboxAge)
		}
		older()
		if trim(); kept() != 0 {
			t.Errorf("%d of many changes are kept", kept())
		}
		start, err := db.FeedStart(t.Context(), time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		if page, err := db.ReadFeed(t.Context(), start.Past, feed.MaxRows); err != nil || !page.Trimmed {
			t.Errorf("the window counts as whole: %d changes, %v", len(page.Changes), err)
		}
		if page, err := db.ReadFeed(t.Context(), start.Next, feed.MaxRows); err != nil || page.Trimmed {
			t.Errorf("a reader of the present state counts as behind: %d changes, %v", len(page.Changes), err)
		}
		var marks int
		if err := db.gorm.Raw("SELECT count(*) FROM feed_marks").Row().Scan(&marks); err != nil || marks > 3 {
			t.Errorf("%d marks, %v", marks, err)
		}
	})
}
