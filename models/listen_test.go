package models

import (
	"context"
	"log/slog"
	"testing"
	"time"
)

func TestARingFollowsEveryChangeAndEveryConnection(t *testing.T) {
	c := postgresConfig(t)
	db := migrated(t, c)
	rings := make(chan struct{}, 100)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- Listen(ctx, c.DSN, func() { rings <- struct{}{} }, slog.New(slog.DiscardHandler))
	}()
	rung := func(what string) {
		t.Helper()
		select {
		case <-rings:
		case <-time.After(10 * time.Second):
			t.Fatalf("no ring after %s", what)
		}
		for len(rings) > 0 { // several for one change are as good
			<-rings
		}
	}
	rung("the connection was made")
	rec := insert(t, db, newKey(t, nil))[0]
	rung("a key was made")
	if err := db.gorm.Exec("UPDATE api_keys SET is_active = FALSE WHERE id = ?", rec.ID).Error; err != nil {
		t.Fatal(err)
	}
	rung("SQL typed by hand")
	if err := db.gorm.Exec("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%' AND datname = current_database()").Error; err != nil {
		t.Fatal(err)
	}
	rung("the connection was lost and made anew")
	if err := db.gorm.Exec("DELETE FROM api_keys").Error; err != nil {
		t.Fatal(err)
	}
	rung("a deletion")
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
