package models

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgconn/ctxwatch"
	"github.com/jackc/pgx/v5/stdlib"
)

const (
	connectionIdle = 5 * time.Minute // an unused connection is closed after this
	readyAge       = 5 * time.Second // a ready connection that no caller has taken is closed after this
	goodbye        = 2 * time.Second // how long a server has to close its end
	// shareEvery is how often a caller that waits for another caller's connection checks
	// whether one is unused, and whether it still has to wait.
	shareEvery = 20 * time.Millisecond
	// readOnlyTransaction is the SQLSTATE with which a read-only server refuses a write.
	readOnlyTransaction = "25006"
)

// connector makes and keeps the connections of a pool of database/sql.
//
//   - Each new connection reads the settings anew ([source]).
//   - A connection is made in the background. If the caller's time ends while a host
//     hangs, the attempt goes on to the next host, and the connection is for the next
//     caller. So even callers with little time get past a host that hangs.
//   - A connection is replaced if its credentials are no longer current, if it is old, or
//     if its server has become read-only. It is used until a new one is ready to take its
//     place. No caller waits for that.
//   - If a server does not answer a statement in time, or refuses it because it is
//     read-only, the connector tries that server again, then the other hosts. If another
//     host takes its place, the connections to that server are given up.
//   - While a server refuses new connections (credentials, too many connections), callers
//     share the existing ones.
//
// Safe for concurrent use.
type connector struct {
	source *source
	log    *slog.Logger
	pool   *sql.DB

	slots chan struct{} // one for each connection that exists or is being made
	ready chan *session // connections that no caller has taken yet
	wake  chan struct{}
	ctx   context.Context
	stop  context.CancelFunc
	work  sync.WaitGroup

	releasing atomic.Bool // true while release runs: one run at a time

	mu       sync.Mutex
	sessions map[*session]struct{}
	waiting  int                  // number of callers that wait for a connection of the pool
	proven   int                  // newest generation of settings that a server accepted; 0: none
	accepted *pgx.ConnConfig      // the settings of that generation
	warned   int                  // newest generation that was logged as not accepted
	doubts   map[string]time.Time // addresses to try again, each with the time of an unanswered statement; zero if a write was refused
	unsolved time.Time            // when a doubt was last left unresolved
	gaveUp   time.Time            // when unused connections were last given up
	refused  bool                 // new connections are refused
	unread   bool                 // the settings can't be read
	closed   bool
}

func newConnector(s *source, open, idle int, log *slog.Logger) *connector {
	c := &connector{source: s, log: log, sessions: map[*session]struct{}{}, doubts: map[string]time.Time{},
		// One more than the pool may have: the new connection that replaces another one.
		slots: make(chan struct{}, open+1), ready: make(chan *session, open+1), wake: make(chan struct{}, 1)}
	c.ctx, c.stop = context.WithCancel(context.Background())
	c.pool = sql.OpenDB(c)
	c.pool.SetMaxOpenConns(open)
	c.pool.SetMaxIdleConns(idle)
	c.pool.SetConnMaxIdleTime(connectionIdle)
	c.work.Go(c.maintain)
	return c
}

// Driver implements driver.Connector.
func (c *connector) Driver() driver.Driver { return stdlib.GetDefaultDriver() }

// Close implements io.Closer: sql.DB calls it after it has closed its
// connections.
func (c *connector) Close() error {
	c.stop()
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.work.Wait()
	for {
		select {
		case s := <-c.ready:
			discard(s.Conn.Conn())
		default:
			return nil
		}
	}
}

// background runs f concurrently with its caller. Close waits for every f that was
// started before it.
func (c *connector) background(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		go f()
		return
	}
	c.work.Go(f)
}

// Connect implements driver.Connector.
func (c *connector) Connect(ctx context.Context) (driver.Conn, error) {
	for {
		s := c.take()
		var err error
		switch {
		case s != nil:
		case c.sharing():
			s, err = c.await(ctx)
		default:
			s, err = c.obtain(ctx)
		}
		if err != nil {
			return nil, err
		}
		if s != nil {
			return c.adopt(s), nil
		}
	}
}

// obtain makes a connection, and returns it or another one that is ready sooner. It
// returns nil if the server refuses new connections and there are others to share.
func (c *connector) obtain(ctx context.Context) (*session, error) {
	select {
	case c.slots <- struct{}{}:
	case s := <-c.ready:
		return s, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	type outcome struct {
		s   *session
		err error
	}
	result := make(chan outcome, 1)
	c.background(func() {
		s, err := c.open(false)
		result <- outcome{s, err}
	})
	leave := func() { // the connection is for another caller, since this one no longer waits
		c.background(func() {
			if o := <-result; o.s != nil {
				c.put(o.s)
			}
		})
	}
	select {
	case o := <-result:
		if o.err != nil && c.sharing() {
			return nil, nil
		}
		return o.s, o.err
	case s := <-c.ready:
		leave()
		return s, nil
	case <-ctx.Done():
		leave()
		return nil, ctx.Err()
	}
}

// sharing reports whether new connections are refused while there are existing ones to
// share.
func (c *connector) sharing() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.refused && len(c.sessions) > 0
}

// await waits for a connection that another caller returns ([pooledConn.Close]). It
// returns nil if new connections are accepted again, or if none is left to share.
func (c *connector) await(ctx context.Context) (*session, error) {
	c.wait(1)
	defer c.wait(-1)
	tick := time.NewTicker(shareEvery)
	defer tick.Stop()
	for c.sharing() {
		if c.pool.Stats().Idle > 0 {
			c.background(c.release)
		}
		select {
		case s := <-c.ready:
			return s, nil
		case <-tick.C:
		case <-c.ctx.Done():
			return nil, c.ctx.Err()
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return nil, nil
}

func (c *connector) wait(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waiting += n
}

// release makes the pool give up an unused connection, which a waiting caller then gets.
func (c *connector) release() {
	if !c.releasing.CompareAndSwap(false, true) {
		return
	}
	defer c.releasing.Store(false)
	ctx, cancel := context.WithTimeout(c.ctx, 2*pingReply)
	defer cancel()
	if conn, err := c.pool.Conn(ctx); err == nil {
		_ = conn.Raw(func(held any) error {
			held.(*pooledConn).passed = true
			return driver.ErrBadConn
		})
	}
}

// open makes a connection. The caller must have taken a slot for it.
func (c *connector) open(try bool) (*session, error) {
	s, err := c.dial(try)
	if err != nil {
		<-c.slots
		c.failed(err, try)
		return nil, err
	}
	c.succeeded(s)
	return s, nil
}

// put makes a connection ready for any caller. It never blocks: c.ready holds as many
// connections as there are slots.
func (c *connector) put(s *session) {
	s.readied = time.Now()
	c.ready <- s
}

// take returns a connection that is ready, nil for none.
func (c *connector) take() *session {
	for {
		select {
		case s := <-c.ready:
			if s.usable() && (time.Since(s.readied) < readyAge || c.sharing()) {
				return s
			}
			c.drop(s)
		default:
			return nil
		}
	}
}

// adopt makes a connection part of the pool.
func (c *connector) adopt(s *session) *pooledConn {
	c.mu.Lock()
	defer c.mu.Unlock()
	s.used = time.Now()
	return &pooledConn{session: s, owner: c}
}

// drop closes a connection in the background, since its host may hang.
func (c *connector) drop(s *session) {
	c.mu.Lock()
	delete(c.sessions, s)
	c.mu.Unlock()
	<-c.slots
	c.background(func() { discard(s.Conn.Conn()) })
}

// dial makes a connection. If try is set, it uses the current settings, even if no server
// has accepted them so far. Otherwise it first uses the settings that were accepted last,
// and the current ones only if that fails.
func (c *connector) dial(try bool) (*session, error) {
	config, generation, err := c.source.current(c.ctx)
	c.recordSettingsRead(err)
	c.mu.Lock()
	accepted, proven := c.accepted, c.proven
	c.mu.Unlock()
	if accepted != nil && proven != generation && !try {
		if s, err := c.dialWith(accepted, proven); err == nil {
			return s, nil
		}
	}
	if config == nil {
		return nil, err
	}
	s, err := c.dialWith(config, generation)
	if !refusedCredentials(err) {
		return s, err
	}
	c.source.rejected()
	if config, now, _ := c.source.current(c.ctx); now != generation { // they have changed meanwhile
		return c.dialWith(config, now)
	}
	return nil, err
}

func (c *connector) dialWith(settings *pgx.ConnConfig, generation int) (*session, error) {
	config := settings.Copy()
	config.BuildContextWatcherHandler = func(conn *pgconn.PgConn) ctxwatch.Handler {
		return &unanswered{DeadlineContextWatcherHandler: pgconn.DeadlineContextWatcherHandler{Conn: conn.Conn()}, owner: c}
	}
	standard := config.OnPgError
	config.OnPgError = func(conn *pgconn.PgConn, refused *pgconn.PgError) bool {
		if refused.Code == readOnlyTransaction {
			c.suspect(addressOf(conn), time.Time{})
		}
		return standard(conn, refused)
	}
	conn, err := connect(c.ctx, config)
	if err != nil {
		return nil, err
	}
	return newSession(conn, settings, generation), nil
}

// unanswered reports a server to the connector when a statement's deadline passes. A call
// that is cancelled is no evidence against the server.
type unanswered struct {
	pgconn.DeadlineContextWatcherHandler
	owner *connector
}

// HandleCancel implements ctxwatch.Handler.
func (u *unanswered) HandleCancel(ctx context.Context) {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		u.owner.suspect(u.Conn.RemoteAddr().String(), time.Now())
	}
	u.DeadlineContextWatcherHandler.HandleCancel(ctx)
}

// suspect makes maintenance try a server again soon.
func (c *connector) suspect(address string, unanswered time.Time) {
	c.recordDoubt(address, unanswered)
	c.wakeMaintenance()
}

func (c *connector) recordDoubt(address string, unanswered time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if before, known := c.doubts[address]; !known || before.IsZero() {
		c.doubts[address] = unanswered
	}
}

func (c *connector) wakeMaintenance() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}
