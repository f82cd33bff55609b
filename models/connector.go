package models

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgconn/ctxwatch"
	"github.com/jackc/pgx/v5/stdlib"
)

const (
	connectionIdle = 5 * time.Minute // after which an unused connection is closed
	readyAge       = 5 * time.Second // likewise of one that no caller took
	goodbye        = 2 * time.Second // for a server to close its end
	// readOnlyTransaction is the code of a write that a read-only server refused.
	readOnlyTransaction = "25006"
)

// connector makes and keeps the connections of a pool of database/sql.
//
//   - Each new connection reads the settings anew ([source]).
//   - A connection is made in the background. A caller whose time ends before a
//     host that hangs is passed over leaves its connection to the next caller,
//     so that many callers with little time still get to the next host.
//   - A connection to be replaced (its credentials are no longer the current
//     ones, it is old, its server is read-only now) is used until a new one is
//     there to take its place. No caller waits for that.
//   - A statement that is not answered in time, or that a server refuses because
//     it is read-only, makes the connector ask that server again, and the other
//     hosts. Where another one takes its place, its connections are given up.
//   - Where a server refuses new connections (credentials, too many connections)
//     callers share those that there are.
//
// Safe for concurrent use.
type connector struct {
	source     *source
	log        *slog.Logger
	pool       *sql.DB
	open, idle int // connections at most, as configured

	slots chan struct{} // one for each connection that is made or being made
	ready chan *session // made, and not yet taken
	wake  chan struct{}
	ctx   context.Context
	stop  context.CancelFunc
	work  sync.WaitGroup

	mu       sync.Mutex
	sessions map[*session]struct{}
	pooled   int                  // of these, those that the pool has
	proven   int                  // newest generation of settings that a server accepted
	doubts   map[string]time.Time // addresses to ask again; since when a statement was not answered, or zero
	unsolved time.Time            // when one of these was not resolved last
	gaveUp   time.Time            // when unused connections were given up last
	refused  bool                 // new connections are refused
	unread   bool                 // the settings can't be read
	closed   bool
}

func newConnector(s *source, open, idle int, log *slog.Logger) *connector {
	c := &connector{source: s, log: log, open: open, idle: idle, sessions: map[*session]struct{}{}, doubts: map[string]time.Time{},
		// One more than the pool may have, for the one that takes another's place.
		slots: make(chan struct{}, open+1), ready: make(chan *session, open+1), wake: make(chan struct{}, 1)}
	c.ctx, c.stop = context.WithCancel(context.Background())
	c.pool = sql.OpenDB(c)
	c.bound(open)
	c.work.Go(c.tend)
	return c
}

// bound sets how many connections the pool may have. While that is fewer than
// configured none is closed for being idle.
func (c *connector) bound(n int) {
	idle := connectionIdle
	if n < c.open {
		idle = 0
	}
	c.pool.SetMaxOpenConns(n)
	c.pool.SetMaxIdleConns(min(c.idle, n)) // a lower bound of the open ones has lowered it
	c.pool.SetConnMaxIdleTime(idle)
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

// background runs f beside its caller. Close waits for what was started before.
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
	if s := c.take(); s != nil {
		return c.adopt(s), nil
	}
	select {
	case c.slots <- struct{}{}:
	case s := <-c.ready:
		return c.adopt(s), nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	failed := make(chan error, 1)
	c.background(func() {
		if err := c.makeReady(); err != nil {
			failed <- err
		}
	})
	select {
	case s := <-c.ready: // this one, or another's that was ready sooner
		return c.adopt(s), nil
	case err := <-failed:
		if c.share(err) {
			return nil, driver.ErrBadConn // the pool tries again, and waits for one that is in use
		}
		return nil, err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// makeReady makes a connection for whoever takes it; the caller has taken a
// slot for it.
func (c *connector) makeReady() error {
	s, err := c.dial()
	if err != nil {
		<-c.slots
		c.failed(err)
		return err
	}
	c.accepted(s)
	c.ready <- s // has room for each slot
	return nil
}

// take returns a connection that is ready, nil for none.
func (c *connector) take() *session {
	for {
		select {
		case s := <-c.ready:
			if s.usable() && time.Since(s.made) < readyAge {
				return s
			}
			c.drop(s)
		default:
			return nil
		}
	}
}

// adopt makes a connection one of the pool's.
func (c *connector) adopt(s *session) *pooledConn {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pooled++
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

// dial makes a connection with the current settings. Credentials that are
// refused and have changed meanwhile are tried once more.
func (c *connector) dial() (*session, error) {
	s, generation, err := c.dialOnce(c.ctx)
	if refusedCredentials(err) {
		c.source.rejected()
		if _, now, _ := c.source.current(c.ctx); now != generation {
			s, _, err = c.dialOnce(c.ctx)
		}
	}
	return s, err
}

func (c *connector) dialOnce(ctx context.Context) (*session, int, error) {
	config, generation, err := c.source.current(ctx)
	c.readable(err)
	if config == nil {
		return nil, generation, err
	}
	config.BuildContextWatcherHandler = func(conn *pgconn.PgConn) ctxwatch.Handler {
		return &unanswered{DeadlineContextWatcherHandler: pgconn.DeadlineContextWatcherHandler{Conn: conn.Conn()}, owner: c}
	}
	standard := config.OnPgError
	config.OnPgError = func(conn *pgconn.PgConn, refused *pgconn.PgError) bool {
		if refused.Code == readOnlyTransaction {
			c.doubt(addressOf(conn), time.Time{})
		}
		return standard(conn, refused)
	}
	conn, err := connect(ctx, config)
	if err != nil {
		return nil, generation, err
	}
	return newSession(conn, generation), generation, nil
}

// unanswered notices that a statement's time ended. That the caller left is no
// sign of anything.
type unanswered struct {
	pgconn.DeadlineContextWatcherHandler
	owner *connector
}

// HandleCancel implements ctxwatch.Handler.
func (u *unanswered) HandleCancel(ctx context.Context) {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		u.owner.doubt(u.Conn.RemoteAddr().String(), time.Now())
	}
	u.DeadlineContextWatcherHandler.HandleCancel(ctx)
}

// doubt has a server asked again, soon.
func (c *connector) doubt(address string, unanswered time.Time) {
	c.note(address, unanswered)
	c.hurry()
}

func (c *connector) note(address string, unanswered time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if before, known := c.doubts[address]; !known || before.IsZero() {
		c.doubts[address] = unanswered
	}
}

func (c *connector) hurry() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// share tells whether callers that can't have a new connection may wait for one
// that there is, and bounds the pool to these.
func (c *connector) share(err error) bool {
	var refused *pgconn.PgError
	if !errors.As(err, &refused) {
		return false
	}
	c.mu.Lock()
	n := c.pooled
	c.mu.Unlock()
	if n > 0 {
		c.bound(n)
	}
	return n > 0
}
