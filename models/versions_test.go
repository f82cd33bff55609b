package models

import (
	"strings"
	"testing"
	"time"

	"extauthz/feed"
)

// setBack sets the last version back, as a replication without sequences or an operator's
// mistake does.
func setBack(t *testing.T, db *DB, to int) {
	t.Helper()
	sql := "UPDATE change_seq SET value = ?"
	if db.driver == Postgres {
		sql = "SELECT setval('change_version', ?)"
	}
	if err := db.gorm.Exec(sql, to).Error; err != nil {
		t.Fatal(err)
	}
}

// presentFeed returns the feed's present state, with all changes of the last hour.
func presentFeed(t *testing.T, db *DB) feed.Page {
	t.Helper()
	start, err := db.FeedStart(t.Context(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	start.Changes = whole(t, db, start.Past, 2).Changes
	return start.Page
}

// whole reads the feed to its end, in pages of so many rows.
func whole(t *testing.T, db *DB, from feed.Cursor, rows int) (all feed.Page) {
	t.Helper()
	for {
		page, err := db.ReadFeed(t.Context(), from, rows)
		if err != nil {
			t.Fatal(err)
		}
		changes := append(all.Changes, page.Changes...)
		all, from = page, page.Next
		all.Changes = changes
		if len(page.Changes) > rows {
			t.Fatalf("%d changes in a page of %d", len(page.Changes), rows)
		}
		if !from.Partial() {
			return all
		}
	}
}

func run(t *testing.T, db *DB, sql string, args ...any) {
	t.Helper()
	if err := db.gorm.Exec(sql, args...).Error; err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// TestVersions_NeverGoBack: after each way of setting versions back, each kind of change
// gets a version higher than all earlier ones of its row, in another epoch.
func TestVersions_NeverGoBack(t *testing.T) {
	const at = "'2026-01-01 00:00:00+00:00'"
	for name, change := range map[string]struct {
		sql   string
		about string // prefix or role; "": the key's prefix
		anew  bool   // the changed row has had no version before
	}{
		"disable":          {"UPDATE api_keys SET is_active = FALSE", "", false},
		"rename a prefix":  {"UPDATE api_keys SET key_prefix = 'other'", "other", false},
		"delete a key":     {"DELETE FROM api_keys", "", false},
		"edit a role":      {"UPDATE roles SET scopes = '[{\"resource\":\"a\",\"actions\":[\"b\"]}]'", "r", false},
		"rename a role":    {"UPDATE roles SET name = 's'", "s", false},
		"delete a role":    {"DELETE FROM roles", "r", false},
		"begin shadow":     {"UPDATE api_keys SET shadow_until = " + at, "", false},
		"narrow its scope": {"UPDATE api_keys SET shadow_scopes = '[{\"resource\":\"a\",\"actions\":[\"b\"]}]'", "", false},
		"end it for good":  {"UPDATE api_keys SET shadow_end = " + at, "", false},
		"make a role":      {"INSERT INTO roles (name, created_at, updated_at) VALUES ('new', " + at + ", " + at + ")", "new", true},
	} {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, db *DB) {
				rec := insert(t, db, newKey(t, nil))[0]
				run(t, db, "INSERT INTO roles (name, created_at, updated_at) VALUES ('r', "+at+", "+at+")")
				for i := range 5 {
					run(t, db, "UPDATE api_keys SET name = ?", strings.Repeat("x", i+1))
					run(t, db, "UPDATE roles SET description = ?", strings.Repeat("x", i+1))
				}
				before := presentFeed(t, db)
				highest := before.Version
				setBack(t, db, 1)
				run(t, db, change.sql)
				after := presentFeed(t, db)
				about := change.about
				if about == "" {
					about = rec.Prefix
				}
				last := func(page feed.Page, about string) (version uint64) {
					for _, c := range page.Changes {
						if c.Prefix+c.Role == about {
							version = max(version, c.Version)
						}
					}
					return version
				}
				had := max(last(before, rec.Prefix), last(before, "r"))
				if about == rec.Prefix || about == "other" {
					had = last(before, rec.Prefix)
				}
				if got := last(after, about); got <= had && (!change.anew || db.driver != Postgres) {
					t.Errorf("version %d after %d: %+v", got, had, after.Changes)
				}
				if db.driver == Postgres { // here a reader has to detect it
					if after.Version >= highest || after.Epoch != before.Epoch {
						t.Fatalf("version %d after %d in the epochs %s and %s: a reader would not see it", after.Version, highest, before.Epoch, after.Epoch)
					}
					if err := db.EndEpoch(t.Context(), after.Epoch); err != nil {
						t.Fatal(err)
					}
					after = presentFeed(t, db)
				}
				if after.Epoch == before.Epoch || !strings.Contains(after.Why, "versions went back") {
					t.Errorf("epoch %s became %s: %q", before.Epoch, after.Epoch, after.Why)
				}
				if after.Version <= highest {
					t.Errorf("the next version would be after %d, and %d was given", after.Version, highest)
				}
				next := after.Epoch // and detecting it once is enough
				run(t, db, "UPDATE api_keys SET name = 'y'")
				run(t, db, "UPDATE roles SET description = 'y'")
				if again := presentFeed(t, db); again.Epoch != next {
					t.Errorf("epoch %s became %s: it ended again", next, again.Epoch)
				}
			})
		})
	}
}

// TestVersions_AreRepairedAtAStart: a logical replication copies rows without their
// sequence.
func TestVersions_AreRepairedAtAStart(t *testing.T) {
	each(t, func(t *testing.T, db *DB) {
		rec := insert(t, db, newKey(t, nil), newKey(t, nil), newKey(t, nil))[2]
		before := presentFeed(t, db)
		if repaired, err := db.RepairVersions(t.Context()); err != nil || repaired {
			t.Fatalf("repaired %v, %v: nothing was wrong", repaired, err)
		}
		setBackUnseen(t, db)
		if repaired, err := db.RepairVersions(t.Context()); err != nil || !repaired {
			t.Fatalf("repaired %v, %v", repaired, err)
		}
		after := presentFeed(t, db)
		if after.Epoch == before.Epoch || after.Version < before.Version || after.Why == "" {
			t.Errorf("got %+v after %+v", after, before)
		}
		run(t, db, "UPDATE api_keys SET is_active = FALSE WHERE id = ?", rec.ID)
		if got, err := db.KeyByRef(t.Context(), rec.ID); err != nil || got.Version <= before.Version {
			t.Errorf("version %d after %d, %v", got.Version, before.Version, err)
		}
		if repaired, err := db.RepairVersions(t.Context()); err != nil || repaired {
			t.Errorf("repaired again: %v, %v", repaired, err)
		}
	})
}

// setBackUnseen sets the last version to 1 without any trigger, as a replication or a
// copied file does.
func setBackUnseen(t *testing.T, db *DB) {
	t.Helper()
	if db.driver == SQLite {
		run(t, db, "DROP TRIGGER change_seq_set_back")
		run(t, db, "UPDATE change_seq SET value = 1")
		// The trigger is made again as the migration makes it.
		migration, err := migrations.ReadFile("migrations/sqlite/00007_shadow_and_versions.sql")
		if err != nil {
			t.Fatal(err)
		}
		_, sql, _ := strings.Cut(string(migration), "CREATE TRIGGER change_seq_set_back")
		sql, _, _ = strings.Cut(sql, "-- +goose StatementEnd")
		run(t, db, "CREATE TRIGGER change_seq_set_back"+sql)
	} else {
		setBack(t, db, 1)
	}
}

// TestVersions_AStartReadsTheMarkAndNotAllKeys: the last assigned version is known
// although the rows that had it are gone.
func TestVersions_AStartReadsTheMarkAndNotAllKeys(t *testing.T) {
	each(t, func(t *testing.T, db *DB) {
		rec := insert(t, db, newKey(t, nil), newKey(t, nil), newKey(t, nil))[2]
		before := presentFeed(t, db)
		if err := db.TrimOutbox(t.Context(), time.Hour); err != nil {
			t.Fatal(err)
		}
		run(t, db, "DELETE FROM api_keys WHERE id = ?", rec.ID)
		run(t, db, "DELETE FROM outbox")
		setBackUnseen(t, db)
		if repaired, err := db.RepairVersions(t.Context()); err != nil || !repaired {
			t.Fatalf("repaired %v, %v", repaired, err)
		}
		if after := presentFeed(t, db); after.Epoch == before.Epoch || after.Version < before.Version {
			t.Errorf("got %+v after %+v", after, before)
		}
	})
}

// TestVersions_AStartReadsAllKeysOnce: the first start sets a mark. By that mark the next
// start detects that versions went back, although the rows that had them are gone.
func TestVersions_AStartReadsAllKeysOnce(t *testing.T) {
	each(t, func(t *testing.T, db *DB) {
		insert(t, db, newKey(t, nil), newKey(t, nil))
		if repaired, err := db.RepairVersions(t.Context()); err != nil || repaired {
			t.Fatalf("repaired %v, %v: nothing was wrong", repaired, err)
		}
		before := presentFeed(t, db)
		run(t, db, "DELETE FROM api_keys")
		run(t, db, "DELETE FROM outbox")
		setBackUnseen(t, db)
		if repaired, err := db.RepairVersions(t.Context()); err != nil || !repaired {
			t.Fatalf("repaired %v, %v: the mark is not read", repaired, err)
		}
		if after := presentFeed(t, db); after.Epoch == before.Epoch || after.Version < before.Version {
			t.Errorf("got %+v after %+v", after, before)
		}
	})
}

// TestVersions_AreRepairedAgain: a repair empties the outbox, but the last assigned
// version is still known afterwards. The mark is from a start before there were keys.
func TestVersions_AreRepairedAgain(t *testing.T) {
	each(t, func(t *testing.T, db *DB) {
		if repaired, err := db.RepairVersions(t.Context()); err != nil || repaired {
			t.Fatalf("repaired %v, %v: nothing was wrong", repaired, err)
		}
		insert(t, db, newKey(t, nil), newKey(t, nil))
		for n := range 2 {
			before := presentFeed(t, db)
			setBackUnseen(t, db)
			if repaired, err := db.RepairVersions(t.Context()); err != nil || !repaired {
				t.Fatalf("time %d: repaired %v, %v", n+1, repaired, err)
			}
			if after := presentFeed(t, db); after.Epoch == before.Epoch || after.Version < before.Version {
				t.Errorf("time %d: got %+v after %+v", n+1, after, before)
			}
		}
	})
}

// TestVersions_ManyThatMeetItBeginOneEpoch: writers and readers that detect it at the
// same time begin one epoch.
func TestVersions_ManyThatMeetItBeginOneEpoch(t *testing.T) {
	db := migrated(t, postgresConfig(t))
	had := map[string]uint64{}
	for range 8 {
		rec := insert(t, db, newKey(t, nil))[0]
		had[rec.ID] = rec.Version
	}
	before := presentFeed(t, db)
	setBack(t, db, 1)
	results := make(chan error, len(had)+2)
	for id := range had {
		go func() { results <- db.gorm.Exec("UPDATE api_keys SET is_active = FALSE WHERE id = ?", id).Error }()
	}
	for range 2 {
		go func() { results <- db.EndEpoch(t.Context(), before.Epoch) }()
	}
	for range cap(results) {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
	for id, version := range had {
		if rec, err := db.KeyByRef(t.Context(), id); err != nil || rec.Version <= version {
			t.Errorf("version %d after %d, %v", rec.Version, version, err)
		}
	}
	if after := presentFeed(t, db); after.Epoch == before.Epoch || after.Version <= before.Version {
		t.Errorf("got %+v after %+v", after, before)
	}
}

func TestVersions_SQLiteKeepsTheirRow(t *testing.T) {
	db := migrated(t, sqliteConfig(t))
	for _, sql := range []string{"DELETE FROM change_seq", "INSERT OR REPLACE INTO change_seq VALUES (1, 0, FALSE)", "REPLACE INTO change_seq VALUES (1, 0, FALSE)"} {
		if err := db.gorm.Exec(sql).Error; err == nil || !strings.Contains(err.Error(), "must not be") {
			t.Errorf("%s: %v", sql, err)
		}
	}
}

// TestMigration_ClosesShadowModeOfUnknownGrants: a row may have been in shadow mode since
// before the setter's grants were stored. Its end stays, and it softens nothing.
func TestMigration_ClosesShadowModeOfUnknownGrants(t *testing.T) {
	for _, driver := range []string{SQLite, Postgres} {
		t.Run(driver, func(t *testing.T) {
			c := sqliteConfig(t)
			if driver == Postgres {
				c = postgresConfig(t)
			}
			db := opened(t, c)
			p, err := db.provider()
			if err != nil {
				t.Fatal(err)
			}
			if _, err := p.UpTo(t.Context(), 6); err != nil {
				t.Fatal(err)
			}
			k := newKey(t, nil)
			row, err := newRow(&k)
			if err != nil {
				t.Fatal(err)
			}
			const at = "'2026-01-01 00:00:00+00:00'"
			run(t, db, "INSERT INTO api_keys (id, user_id, key_prefix, key_hash, created_at, updated_at, shadow_until) VALUES ('old', 'u', 'p', ?, "+at+", "+at+", "+at+")", row.KeyHash)
			if err := db.Migrate(t.Context()); err != nil {
				t.Fatal(err)
			}
			rec, err := db.KeyByRef(t.Context(), "old")
			if err != nil || rec.ShadowUntil.IsZero() || !rec.ShadowEnd.Equal(rec.ShadowUntil) || rec.ShadowScopes != nil || rec.Version < 2 {
				t.Errorf("got %+v, %v", rec, err)
			}
		})
	}
}
