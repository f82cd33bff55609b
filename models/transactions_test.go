package models

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"gorm.io/gorm"
)

// TestOldTransactions_NamesWhoHoldsThem: the transaction may be in another database, be
// prepared, or be in a session that hides its start time.
func TestOldTransactions_NamesWhoHoldsThem(t *testing.T) {
	config := postgresConfig(t)
	db := migrated(t, config)
	other := opened(t, postgresConfig(t))
	idle := other.gorm.Begin()
	defer idle.Rollback()
	for _, sql := range []string{"SET LOCAL application_name = 'backfill'", "SELECT pg_current_xact_id()"} {
		if err := idle.Exec(sql).Error; err != nil {
			t.Fatal(err)
		}
	}
	var name string
	if err := other.gorm.Raw("SELECT current_database()").Row().Scan(&name); err != nil {
		t.Fatal(err)
	}
	names := func(q *gorm.DB, age time.Duration) string {
		t.Helper()
		old, err := oldTransactions(q, age)
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprint(old)
	}
	if got := names(db.read, 0); !strings.Contains(got, "(backfill)") || !strings.Contains(got, "in database "+name) || !strings.Contains(got, "idle in transaction, open for") {
		t.Errorf("got %s", got)
	}
	if got := names(db.read, time.Hour); got != "[]" {
		t.Errorf("a young transaction counts as old: %s", got)
	}
	// A role that may not see the details of other roles' sessions gets the age from a
	// mark, which lists the transactions that were open then.
	insert(t, db, newKey(t, nil))
	if err := db.TrimOutbox(t.Context(), time.Hour); err != nil {
		t.Fatal(err)
	}
	run(t, db, "CREATE ROLE watcher LOGIN")
	defer run(t, db, "DROP ROLE watcher")
	run(t, db, "GRANT SELECT ON ALL TABLES IN SCHEMA public TO watcher")
	defer run(t, db, "REVOKE ALL ON ALL TABLES IN SCHEMA public FROM watcher")
	run(t, db, "UPDATE feed_marks SET at = at - interval '2 hours'")
	hidden := db.gorm.Begin()
	defer hidden.Rollback()
	if err := hidden.Exec("SET LOCAL ROLE watcher").Error; err != nil {
		t.Fatal(err)
	}
	if got := names(hidden, time.Hour); !strings.Contains(got, "(backfill)") || strings.Contains(got, "idle in transaction") || !strings.Contains(got, "open for 2h") {
		t.Errorf("got %s", got)
	}
	if old, err := migrated(t, sqliteConfig(t)).OldTransactions(t.Context(), 0); err != nil || old != nil {
		t.Errorf("SQLite: %v, %v", old, err)
	}
}
