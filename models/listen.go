package models

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// changesChannel is where the triggers ring; the outbox tells what has changed.
const changesChannel = "extauthz_changes"

const (
	listenPause = time.Second      // before a connection is tried again
	listenQuiet = 15 * time.Second // without a ring, after which the connection is asked whether it lives
	listenReply = 3 * time.Second  // and has so long to say so
)

// Listen calls ring whenever the database says that something has changed, and
// once after each connection, since nobody heard what came before. It holds a
// connection of its own, which must not go through a transaction pooler, and
// makes it anew whenever it is lost, until ctx ends. Rings are hints: one that
// is lost costs time (the feed is polled) and nothing else. ring must not block.
func Listen(ctx context.Context, dsn string, ring func(), log *slog.Logger) error {
	config, err := postgresSettings(Config{DSN: dsn})
	if err != nil {
		return errors.New("database.listen_dsn can't be read: write postgres://user:password@host:5432/name")
	}
	for heard := true; ctx.Err() == nil; {
		err := listenOnce(ctx, config, ring, func() {
			heard = true
			log.InfoContext(ctx, "listening for changes")
		})
		if ctx.Err() != nil {
			break
		}
		if heard { // one line a change of state
			heard = false
			log.WarnContext(ctx, "changes are not heard of: they are polled for", "error", oneLine(err))
		}
		select {
		case <-ctx.Done():
		case <-time.After(listenPause):
		}
	}
	return nil
}

func listenOnce(ctx context.Context, config *pgx.ConnConfig, ring, connected func()) error {
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return err
	}
	defer func() {
		bye, cancel := context.WithTimeout(context.WithoutCancel(ctx), listenReply)
		defer cancel()
		_ = conn.Close(bye)
	}()
	if _, err := conn.Exec(ctx, "LISTEN "+changesChannel); err != nil {
		return err
	}
	connected()
	ring()
	for {
		quiet, cancel := context.WithTimeout(ctx, listenQuiet)
		_, err := conn.WaitForNotification(quiet)
		cancel()
		switch {
		case err == nil:
			ring()
		case ctx.Err() != nil || !pgconn.Timeout(err):
			return err
		default: // a connection into nowhere is as quiet as one with no changes
			reply, cancel := context.WithTimeout(ctx, listenReply)
			err := conn.Ping(reply)
			cancel()
			if err != nil {
				return fmt.Errorf("connection is dead: %w", err)
			}
		}
	}
}
