package models

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"gorm.io/gorm"

	"extauthz/authz"
	"extauthz/feed"
)

func prefixes(page feed.Page) (out []string) {
	for _, c := range page.Changes {
		out = append(out, c.Prefix)
	}
	return out
}

func TestFeed_ContinuesFromItsCursor(t *testing.T) {
	each(t, func(t *testing.T, db *DB) {
		start, err := db.FeedStart(t.Context(), time.Hour)
		if err != nil || len(start.Changes) != 0 || start.Epoch == "" {
			t.Fatalf("got %+v, %v", start, err)
		}
		rec := insert(t, db, newKey(t, nil))[0]
		page, err := db.ReadFeed(t.Context(), start.Next, feed.MaxRows)
		if err != nil || !slices.Contains(prefixes(page), rec.Prefix) || page.Epoch != start.Epoch {
			t.Fatalf("got %+v, %v", page, err)
		}
		again, err := db.ReadFeed(t.Context(), page.Next, feed.MaxRows)
		if err != nil || len(again.Changes) != 0 {
			t.Fatalf("nothing happened, and the feed returns %+v, %v", again, err)
		}
	})
}

// TestFeed_ALateCommitIsReadOnce: one transaction gets the lower version, another one
// commits a higher version first, and the feed is read in between.
func TestFeed_ALateCommitIsReadOnce(t *testing.T) {
	db := migrated(t, postgresConfig(t))
	a, b := insert(t, db, newKey(t, nil))[0], insert(t, db, newKey(t, nil))[0]
	cursor := presentFeed(t, db).Next
	late := db.gorm.Begin()
	if err := late.Exec("UPDATE api_keys SET revoked_at = now() WHERE id = ?", a.ID).Error; err != nil {
		t.Fatal(err)
	}
	run(t, db, "UPDATE api_keys SET revoked_at = now() WHERE id = ?", b.ID)
	for _, want := range []string{b.Prefix, "", "", a.Prefix, ""} {
		if want == a.Prefix {
			if err := late.Commit().Error; err != nil {
				t.Fatal(err)
			}
		}
		page := whole(t, db, cursor, 1)
		if got := strings.Join(prefixes(page), " "); got != want {
			t.Fatalf("got %q, want %q", got, want)
		}
		cursor = page.Next
	}
}

// TestFeed_PagesAreOneState: changes that are committed between two pages of a read, at
// positions before and after those of the page, come with the next read.
func TestFeed_PagesAreOneState(t *testing.T) {
	db := migrated(t, postgresConfig(t))
	var ids, names []string
	for range 9 {
		rec := insert(t, db, newKey(t, nil))[0]
		ids, names = append(ids, rec.ID), append(names, rec.Prefix)
	}
	cursor := presentFeed(t, db).Next
	revoke := func(tx *gorm.DB, i ...int) {
		t.Helper()
		for _, i := range i {
			if err := tx.Exec("UPDATE api_keys SET revoked_at = now() WHERE id = ?", ids[i]).Error; err != nil {
				t.Fatal(err)
			}
		}
	}
	before, between := db.gorm.Begin(), db.gorm.Begin() // open when the cursor is taken, and when the read begins
	revoke(before, 0, 1)
	cursor = whole(t, db, cursor, 10).Next
	revoke(between, 2, 3)
	revoke(db.gorm, 4, 5, 6)
	if err := before.Commit().Error; err != nil {
		t.Fatal(err)
	}
	var got []string
	read := func(rows int) {
		t.Helper()
		page, err := db.ReadFeed(t.Context(), cursor, rows)
		if err != nil {
			t.Fatal(err)
		}
		got, cursor = append(got, prefixes(page)...), page.Next
	}
	read(1)
	revoke(db.gorm, 7)
	if err := between.Commit().Error; err != nil {
		t.Fatal(err)
	}
	for cursor.Partial() {
		read(2)
		revoke(db.gorm, 8)
	}
	if want := fmt.Sprint(append(slices.Clone(names[:2]), names[4:7]...)); fmt.Sprint(got) != want {
		t.Errorf("one read brought %v, want %s", got, want)
	}
	got = nil
	for read(2); cursor.Partial(); {
		read(2)
	}
	slices.Sort(got)
	want := append(slices.Clone(names[2:4]), names[7:]...)
	slices.Sort(want)
	if got = slices.Compact(got); !slices.Equal(got, want) {
		t.Errorf("the next read brought %v, want %v", got, want)
	}
}

// TestFeed_AnotherDatabasesTransactionHoldsNothingBack: an open transaction with an id,
// in any database of the cluster, keeps only its own rows from being read and deleted.
func TestFeed_AnotherDatabasesTransactionHoldsNothingBack(t *testing.T) {
	db, other := migrated(t, postgresConfig(t)), migrated(t, postgresConfig(t))
	idle := other.gorm.Begin()
	if err := idle.Exec("SELECT pg_current_xact_id()").Error; err != nil {
		t.Fatal(err)
	}
	defer idle.Rollback()
	cursor := presentFeed(t, db).Next
	insert(t, db, newKey(t, nil), newKey(t, nil), newKey(t, nil))
	page := whole(t, db, cursor, feed.MaxRows)
	if len(page.Changes) != 3 || len(page.Next.Seen.Open) == 0 {
		t.Fatalf("got %+v", page)
	}
	if again := whole(t, db, page.Next, feed.MaxRows); len(again.Changes) != 0 {
		t.Errorf("%d changes came again", len(again.Changes))
	}
	if err := db.TrimOutbox(t.Context(), -time.Minute); err != nil {
		t.Fatal(err)
	}
	if kept := presentFeed(t, db); len(kept.Changes) != 0 {
		t.Errorf("%d changes are kept beside a transaction that has none", len(kept.Changes))
	}
	if again := whole(t, db, page.Next, feed.MaxRows); again.Trimmed {
		t.Error("a reader that has seen everything counts as behind")
	}
}

// TestFeed_PagesAreBoundedByBytes: texts that were written by hand may be long.
func TestFeed_PagesAreBoundedByBytes(t *testing.T) {
	each(t, func(t *testing.T, db *DB) {
		cursor := presentFeed(t, db).Next
		long := strings.Repeat("x", maxFeedBytes/4)
		for i := range 10 {
			if db.driver == SQLite {
				run(t, db, "INSERT INTO outbox (version, kind, prefix, user_id, at) SELECT value, 1, ?, ?, '2026-01-01 00:00:00+00:00' FROM change_seq", fmt.Sprint(i), long)
			} else {
				run(t, db, "INSERT INTO outbox (version, kind, prefix, user_id) VALUES (1, 1, ?, ?)", fmt.Sprint(i), long)
			}
		}
		if db.driver == SQLite { // the trigger of a change does so too
			cursor.Seen.Next = 0
		}
		page, err := db.ReadFeed(t.Context(), cursor, feed.MaxRows)
		if err != nil || len(page.Changes) > 5 || !page.Next.Partial() {
			t.Fatalf("%d changes, %v", len(page.Changes), err)
		}
		if all := whole(t, db, cursor, feed.MaxRows); len(all.Changes) != 10 {
			t.Errorf("got %d", len(all.Changes))
		}
	})
}

func TestFeed_ReportsATrimmedOutbox(t *testing.T) {
	each(t, func(t *testing.T, db *DB) {
		old, err := db.FeedStart(t.Context(), time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		insert(t, db, newKey(t, nil), newKey(t, nil))
		if err := db.TrimOutbox(t.Context(), -time.Minute); err != nil {
			t.Fatal(err)
		}
		if page, err := db.ReadFeed(t.Context(), old.Next, feed.MaxRows); err != nil || !page.Trimmed {
			t.Errorf("got %+v, %v", page, err)
		}
		fresh, err := db.FeedStart(t.Context(), time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		if page, err := db.ReadFeed(t.Context(), fresh.Next, feed.MaxRows); err != nil || page.Trimmed {
			t.Errorf("a fresh reader was sent back: %+v, %v", page, err)
		}
	})
}

func TestTakeOver_TableOfTenColumns(t *testing.T) {
	for _, driver := range []string{SQLite, Postgres} {
		t.Run(driver, func(t *testing.T) {
			c, instant := sqliteConfig(t), "DATETIME"
			if driver == Postgres {
				c, instant = postgresConfig(t), "TIMESTAMPTZ"
			}
			db := opened(t, c)
			k := newKey(t, nil)
			row, err := newRow(&k)
			if err != nil {
				t.Fatal(err)
			}
			for _, sql := range []string{
				"CREATE TABLE api_keys (id TEXT PRIMARY KEY, user_id TEXT NOT NULL, name TEXT NOT NULL, key_prefix TEXT NOT NULL, key_hash TEXT NOT NULL, scopes TEXT NOT NULL, is_active BOOLEAN NOT NULL, expires_at " + instant + ", created_at " + instant + " NOT NULL, updated_at " + instant + " NOT NULL)",
				"INSERT INTO api_keys VALUES ('old', 'u', 'n', '" + row.KeyPrefix + "', '" + row.KeyHash + "', '[{\"resource\":\"orders\",\"actions\":[\"read\"]}]', TRUE, NULL, '2026-01-01 00:00:00+00:00', '2026-01-01 00:00:00+00:00')",
			} {
				if err := db.gorm.Exec(sql).Error; err != nil {
					t.Fatal(err)
				}
			}
			for range 2 { // the second migration changes nothing
				if err := db.Migrate(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			rec, _, err := db.KeyByPrefix(t.Context(), row.KeyPrefix)
			if err != nil || rec.ID != "old" || rec.Version == 0 || rec.Family != "old" || !rec.Scopes.Allows("orders", "read") {
				t.Errorf("got %+v, %v", rec, err)
			}
			if current, newest, err := db.MigrationStatus(t.Context()); err != nil || current != newest || newest == 0 {
				t.Errorf("got %d of %d, %v", current, newest, err)
			}
		})
	}
}

func TestKeyByPrefix_UsesItsIndex(t *testing.T) {
	each(t, func(t *testing.T, db *DB) {
		const query = "SELECT * FROM api_keys WHERE key_prefix = 'x' LIMIT 1"
		var plan []struct {
			Detail string // SQLite
			Line   string `gorm:"column:QUERY PLAN"` // Postgres
		}
		err := db.gorm.Transaction(func(tx *gorm.DB) error {
			if db.driver == SQLite {
				return tx.Raw("EXPLAIN QUERY PLAN " + query).Scan(&plan).Error
			}
			// For an empty table, the planner prefers to read it whole.
			if err := tx.Exec("SET LOCAL enable_seqscan = off").Error; err != nil {
				return err
			}
			return tx.Raw("EXPLAIN " + query).Scan(&plan).Error
		})
		if err != nil || !strings.Contains(strings.ReplaceAll(fmt.Sprint(plan), "api_keys_key_prefix", "api_keys_prefix"), "api_keys_prefix") {
			t.Errorf("the plan is %v, %v", plan, err)
		}
	})
}

func TestTriggers_RefuseTruncate(t *testing.T) {
	db := migrated(t, postgresConfig(t))
	if err := db.gorm.Exec("TRUNCATE api_keys").Error; err == nil {
		t.Error("TRUNCATE would empty the table without a change in the feed")
	}
}

func TestList_PagesFromNewestToOldest(t *testing.T) {
	each(t, func(t *testing.T, db *DB) {
		var want []string
		for range 5 {
			want = append([]string{insert(t, db, newKey(t, nil))[0].ID}, want...)
		}
		insert(t, db, newKey(t, func(r *authz.Record) { r.UserID, r.Name = "other", "50% off_" }))
		var got []string
		for after := ""; ; {
			page, err := db.ListKeys(t.Context(), authz.KeyFilter{UserID: "u", After: after, Limit: 2, WithUsage: true})
			if err != nil {
				t.Fatal(err)
			}
			if len(page) == 0 {
				break
			}
			for _, k := range page {
				got = append(got, k.ID)
			}
			after = page[len(page)-1].ID
		}
		if !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
		if found, err := db.ListKeys(t.Context(), authz.KeyFilter{Text: "50% off_", Limit: 10}); err != nil || len(found) != 1 {
			t.Errorf("got %d, %v", len(found), err)
		}
		if found, err := db.ListKeys(t.Context(), authz.KeyFilter{Text: "50%_off", Limit: 10}); err != nil || len(found) != 0 {
			t.Errorf("wildcards of the searcher were taken as such: %d, %v", len(found), err)
		}
	})
}

func TestEpoch_EndsOnce(t *testing.T) {
	each(t, func(t *testing.T, db *DB) {
		start, err := db.FeedStart(t.Context(), time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		for range 2 { // the second call stands for another replica, which saw the same epoch
			if err := db.EndEpoch(t.Context(), start.Epoch); err != nil {
				t.Fatal(err)
			}
		}
		second, err := db.ReadFeed(t.Context(), start.Next, feed.MaxRows)
		if err != nil || second.Epoch == start.Epoch {
			t.Fatalf("still in %s, %v", second.Epoch, err)
		}
		if err := db.EndEpoch(t.Context(), start.Epoch); err != nil {
			t.Fatal(err)
		}
		if third, err := db.ReadFeed(t.Context(), start.Next, feed.MaxRows); err != nil || third.Epoch != second.Epoch {
			t.Errorf("the epoch ended again: %s, then %s, %v", second.Epoch, third.Epoch, err)
		}
	})
}
