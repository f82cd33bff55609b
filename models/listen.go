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

// errDeaf tells that LISTEN was accepted and means nothing.
var errDeaf = errors.New("it is behind a connection pooler that gives each transaction another session: name the database itself in database.listen_dsn")

// ListenConfig says who is told of changes.
type ListenConfig struct {
	DSN       string     // of the database itself: it must not go through a transaction pooler
	Ring      func()     // called for each change; must not block
	Listening func(bool) // called when it begins and ends to hear of changes; must not block
	Logger    *slog.Logger
}

// Listen calls Ring whenever the database says that something has changed, and
// once after each connection, since nobody heard what came before. It holds a
// connection of its own and makes it anew whenever it is lost, until ctx ends.
// Rings are hints: one that is lost costs time (the feed is polled) and nothing
// else.
func Listen(ctx context.Context, c ListenConfig) error {
	config, err := postgresSettings(Config{DSN: c.DSN})
	if err != nil {
		return errors.New("database.listen_dsn can't be read: write postgres://user:password@host:5432/name")
	}
	defer c.Listening(false)
	for heard := true; ctx.Err() == nil; {
		err := listenOnce(ctx, config, c.Ring, func() {
			heard = true
			c.Listening(true)
			c.Logger.InfoContext(ctx, "listening for changes")
		})
		if ctx.Err() != nil {
			break
		}
		if heard { // one line a change of state
			heard = false
			c.Logger.WarnContext(ctx, "changes are not heard of: they are polled for", "error", oneLine(err))
		}
		c.Listening(false)
		select {
		case <-ctx.Done():
		case <-time.After(listenPause):
		}
	}
	return nil
}

func listenOnce(ctx context.Context, config *pgx.ConnConfig, ring, connected func()) error {
	conn, err := connectListener(ctx, config)
	if err != nil {
		return err
	}
	defer disconnect(ctx, conn)
	// A pooler has numbers of its own for processes.
	var process uint32
	if err := conn.QueryRow(ctx, "SELECT pg_backend_pid()").Scan(&process); err != nil {
		return err
	}
	if _, err := conn.Exec(ctx, "LISTEN "+changesChannel); err != nil {
		return err
	}
	if process != conn.PgConn().PID() {
		if err := provesToHear(ctx, config, conn); err != nil {
			return err
		}
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

// connectListener leaves out the limits of statements: there is none that they
// would be for, and poolers refuse them.
func connectListener(ctx context.Context, config *pgx.ConnConfig) (*pgx.Conn, error) {
	config = config.Copy()
	delete(config.RuntimeParams, "statement_timeout")
	delete(config.RuntimeParams, "lock_timeout")
	return pgx.ConnectConfig(ctx, config)
}

func disconnect(ctx context.Context, conn *pgx.Conn) {
	bye, cancel := context.WithTimeout(context.WithoutCancel(ctx), listenReply)
	defer cancel()
	_ = conn.Close(bye)
}

// provesToHear has another connection ring: a pooler in transaction mode takes
// LISTEN, and no ring ever comes.
func provesToHear(ctx context.Context, config *pgx.ConnConfig, conn *pgx.Conn) error {
	other, err := connectListener(ctx, config)
	if err != nil {
		return err
	}
	defer disconnect(ctx, other)
	if _, err := other.Exec(ctx, "NOTIFY "+changesChannel); err != nil {
		return err
	}
	reply, cancel := context.WithTimeout(ctx, listenReply)
	defer cancel()
	_, err = conn.WaitForNotification(reply)
	if pgconn.Timeout(err) && ctx.Err() == nil {
		return errDeaf
	}
	return err
}
