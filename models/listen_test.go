package models

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"extauthz/e2e/parts"
)

func TestListen_NotifiesOfEveryChangeAndConnection(t *testing.T) {
	c := postgresConfig(t)
	db := migrated(t, c)
	notified := make(chan struct{}, 100)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- Listen(ctx, ListenConfig{Database: c, Notify: func() { notified <- struct{}{} }, Listening: func(bool) {}, Logger: slog.New(slog.DiscardHandler)})
	}()
	wait := func(what string) {
		t.Helper()
		select {
		case <-notified:
		case <-time.After(10 * time.Second):
			t.Fatalf("no notification after %s", what)
		}
		for len(notified) > 0 { // several notifications for one change are allowed
			<-notified
		}
	}
	wait("the connection was made")
	rec := insert(t, db, newKey(t, nil))[0]
	wait("a key was made")
	if err := db.gorm.Exec("UPDATE api_keys SET is_active = FALSE WHERE id = ?", rec.ID).Error; err != nil {
		t.Fatal(err)
	}
	wait("SQL typed by hand")
	if err := db.gorm.Exec("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%' AND datname = current_database()").Error; err != nil {
		t.Fatal(err)
	}
	wait("the connection was lost and made anew")
	if err := db.gorm.Exec("DELETE FROM api_keys").Error; err != nil {
		t.Fatal(err)
	}
	wait("a deletion")
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestListen_DetectsPoolersWithoutNotifications: PgBouncer accepts LISTEN in both modes,
// but delivers notifications in only one of them.
func TestListen_DetectsPoolersWithoutNotifications(t *testing.T) {
	for mode, delivers := range map[string]bool{"session": true, "transaction": false} {
		t.Run(mode, func(t *testing.T) {
			direct := postgresConfig(t)
			migrated(t, direct)
			through := parts.StartPgBouncer(t, server, "pool_mode = "+mode).Through(direct.DSN)
			var said bytes.Buffer
			ctx, stop := context.WithTimeout(t.Context(), 20*time.Second)
			defer stop()
			listening := make(chan bool, 100)
			err := Listen(ctx, ListenConfig{Database: Config{DSN: through}, Notify: func() {}, Listening: func(is bool) {
				listening <- is
				stop()
			}, Logger: slog.New(slog.NewTextHandler(&said, nil))})
			if err != nil {
				t.Fatal(err)
			}
			if got := <-listening; got != delivers || strings.Contains(said.String(), "listen_dsn") == delivers {
				t.Errorf("listening: %v, and it logged %s", got, said.String())
			}
		})
	}
}
