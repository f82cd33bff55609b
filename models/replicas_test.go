package models

import "testing"

func TestReplicas_CountsLiving(t *testing.T) {
	each(t, func(t *testing.T, db *DB) {
		want := func(instance string, living int) {
			t.Helper()
			if db.driver == SQLite {
				living = 1
			}
			if got, err := db.Beat(t.Context(), instance); err != nil || got != living {
				t.Errorf("%s counts %d, %v; want %d", instance, got, err, living)
			}
		}
		want("a", 1)
		want("b", 2)
		want("a", 2)
		if err := db.Leave(t.Context(), "b"); err != nil {
			t.Fatal(err)
		}
		want("a", 1)
		if db.driver != Postgres {
			return
		}
		want("b", 2)
		if err := db.gorm.Exec("UPDATE replicas SET at = at - interval '20 seconds' WHERE instance = 'b'").Error; err != nil {
			t.Fatal(err)
		}
		want("a", 1) // killed, and not seen since
	})
}
