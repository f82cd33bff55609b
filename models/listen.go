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

// changesChannel is the channel that the triggers notify. The changes themselves are in
// the outbox.
const changesChannel = "extauthz_changes"

const (
	listenPause = time.Second            // before the next attempt to connect
	listenQuiet = time.Second            // after this time without a notification, the connection is pinged
	listenReply = 750 * time.Millisecond // how long to wait for the answer to a ping
	listenReads = 5 * time.Second        // between two checks for changed connection settings
)

// errPooled means that LISTEN was accepted and has no effect.
var errPooled = errors.New("it is behind a connection pooler that gives each transaction another session: name the database itself in database.listen_dsn")

// errReadOnly ends a connection whose server takes no more writes.
var errReadOnly = errors.New("the server is read-only now")

// ListenConfig defines the database to listen to, and the functions to call.
type ListenConfig struct {
	// Database defines the connection. DSN or ReadDSN, Password and ConnectTimeout are
	// used. The connection must not go through a pooler in transaction mode.
	Database  Config
	Notify    func()     // called for each change; must not block
	Listening func(bool) // called when notifications begin and end; must not block
	Logger    *slog.Logger
}

// Listen calls Notify for each change notification of the database, and once after each
// time it has connected, since earlier notifications were lost. Until ctx ends it holds a
// connection of its own, and makes a new one whenever that is lost. If the connection
// settings change, a new connection takes its place once the server accepts it.
// Notifications are hints: a lost one costs only time, since the feed is polled too.
func Listen(ctx context.Context, c ListenConfig) error {
	l := &listener{ListenConfig: c, source: newSource(c.Database)}
	if _, _, err := l.source.current(ctx); err != nil && !l.source.changes() {
		return errors.New("database.listen_dsn can't be read: write postgres://user:password@host:5432/name")
	}
	defer c.Listening(false)
	for connected := true; ctx.Err() == nil; {
		err := l.once(ctx, func() {
			connected = true
			c.Listening(true)
			c.Logger.InfoContext(ctx, "listening for changes")
		})
		if ctx.Err() != nil {
			break
		}
		c.Listening(false)
		if connected { // one log line for each change of state; no pause, since another host may accept at once
			connected = false
			c.Logger.WarnContext(ctx, "no change notifications: changes are polled for", "error", oneLine(err))
			continue
		}
		select {
		case <-ctx.Done():
		case <-time.After(listenPause):
		}
	}
	return nil
}

type listener struct {
	ListenConfig
	source *source
}

// once listens until its connection is lost.
func (l *listener) once(ctx context.Context, connected func()) error {
	conn, generation, err := l.open(ctx)
	if err != nil {
		return err
	}
	defer func() { leave(ctx, conn) }()
	connected()
	l.Notify()
	writable := !readOnly(conn.PgConn())
	for asked, read := time.Now(), time.Now(); ; {
		quiet, cancel := context.WithTimeout(ctx, listenQuiet)
		_, err := conn.WaitForNotification(quiet)
		cancel()
		switch {
		case err == nil:
			l.Notify()
		case ctx.Err() != nil || !pgconn.Timeout(err):
			return err
		}
		if time.Since(asked) < listenQuiet {
			continue
		}
		// A dead connection is as silent as a living one without changes.
		if err := alive(ctx, conn); err != nil {
			return err
		}
		if writable && readOnly(conn.PgConn()) {
			return errReadOnly
		}
		asked = time.Now()
		if time.Since(read) < listenReads {
			continue
		}
		read = time.Now()
		if _, now, _ := l.source.current(ctx); now != generation {
			if next, now, err := l.open(ctx); err == nil {
				leave(ctx, conn)
				conn, generation = next, now
				l.Notify()
			}
		}
	}
}

func alive(ctx context.Context, conn *pgx.Conn) error {
	reply, cancel := context.WithTimeout(ctx, listenReply)
	defer cancel()
	if err := conn.Ping(reply); err != nil {
		return fmt.Errorf("connection is dead: %w", err)
	}
	return nil
}

// open makes a connection that receives notifications.
func (l *listener) open(ctx context.Context) (*pgx.Conn, int, error) {
	conn, generation, err := l.connect(ctx)
	if err != nil {
		return nil, 0, err
	}
	if err := l.subscribe(ctx, conn); err != nil {
		leave(ctx, conn)
		return nil, 0, err
	}
	return conn, generation, nil
}

func (l *listener) subscribe(ctx context.Context, conn *pgx.Conn) error {
	limited, cancel := context.WithTimeout(ctx, 2*listenReply)
	defer cancel()
	// Behind a pooler, the process id from the login is the pooler's, not the server's.
	var process uint32
	if err := conn.QueryRow(limited, "SELECT pg_backend_pid()").Scan(&process); err != nil {
		return err
	}
	if _, err := conn.Exec(limited, "LISTEN "+changesChannel); err != nil {
		return err
	}
	if process == conn.PgConn().PID() {
		return nil
	}
	return l.checkDelivery(ctx, conn)
}

// connect leaves out the time limits: this connection runs no statements that need them,
// and poolers refuse such parameters.
func (l *listener) connect(ctx context.Context) (*pgx.Conn, int, error) {
	config, generation, err := l.source.current(ctx)
	if config == nil {
		return nil, 0, err
	}
	delete(config.RuntimeParams, "statement_timeout")
	delete(config.RuntimeParams, "lock_timeout")
	conn, err := connect(ctx, config)
	if err != nil {
		if refusedCredentials(err) {
			l.source.rejected()
		}
		return nil, 0, err
	}
	return conn.Conn(), generation, nil
}

// leave closes a connection. It waits for that only after ctx has ended. Until then it
// closes in the background: a host that hangs would keep the listener from trying the
// next one.
func leave(ctx context.Context, conn *pgx.Conn) {
	if ctx.Err() != nil {
		discard(conn)
		return
	}
	go discard(conn)
}

// checkDelivery sends a notification over another connection and waits for it: a pooler
// in transaction mode accepts LISTEN, but no notification ever arrives.
func (l *listener) checkDelivery(ctx context.Context, conn *pgx.Conn) error {
	other, _, err := l.connect(ctx)
	if err != nil {
		return err
	}
	defer discard(other)
	if _, err := other.Exec(ctx, "NOTIFY "+changesChannel); err != nil {
		return err
	}
	reply, cancel := context.WithTimeout(ctx, listenReply)
	defer cancel()
	_, err = conn.WaitForNotification(reply)
	if pgconn.Timeout(err) && ctx.Err() == nil {
		return errPooled
	}
	return err
}
