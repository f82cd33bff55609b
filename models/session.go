package models

import (
	"context"
	"database/sql/driver"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
)

const (
	// connectionLife is how old a connection gets, up to a third less, so that
	// connections spread over what a balancer or a name has behind it by then.
	connectionLife = 30 * time.Minute
	pingReply      = 250 * time.Millisecond // for a connection that was unused for a second
)

// session is one connection to a server.
type session struct {
	*stdlib.Conn
	address    string
	settings   *pgx.ConnConfig // that it was made with
	generation int             // of these
	made       time.Time
	readied    time.Time // when it came to be ready
	life       time.Duration
	used       time.Time // when it was taken last; guarded by connector.mu

	stale   atomic.Bool // is to be replaced, and usable until then
	dead    atomic.Bool // is not to be used any more
	settled atomic.Bool // that its server is read-only is as the settings ask for
}

func newSession(conn *stdlib.Conn, settings *pgx.ConnConfig, generation int) *session {
	return &session{Conn: conn, settings: settings, address: addressOf(conn.Conn().PgConn()), generation: generation, made: time.Now(),
		life: connectionLife - rand.N(connectionLife/3)}
}

func addressOf(conn *pgconn.PgConn) string { return conn.Conn().RemoteAddr().String() }

func (s *session) usable() bool { return !s.dead.Load() && !s.Conn.Conn().IsClosed() }

// readOnly reports whether the server has reported that it takes no writes: Postgres 14
// and later report these settings whenever they change.
func readOnly(conn *pgconn.PgConn) bool {
	return conn.ParameterStatus("default_transaction_read_only") == "on" || conn.ParameterStatus("in_hot_standby") == "on"
}

// pooledConn is what database/sql holds: a connection that can be replaced
// between two uses. database/sql calls its methods one at a time.
type pooledConn struct {
	*session
	owner  *connector
	passed bool // to a caller that waits, when it is closed
}

var (
	_ driver.SessionResetter    = (*pooledConn)(nil)
	_ driver.Validator          = (*pooledConn)(nil)
	_ driver.ConnBeginTx        = (*pooledConn)(nil)
	_ driver.QueryerContext     = (*pooledConn)(nil)
	_ driver.ExecerContext      = (*pooledConn)(nil)
	_ driver.ConnPrepareContext = (*pooledConn)(nil)
	_ driver.NamedValueChecker  = (*pooledConn)(nil)
	_ driver.Pinger             = (*pooledConn)(nil)
)

// ResetSession implements driver.SessionResetter: it is called before a
// connection is used again.
func (p *pooledConn) ResetSession(ctx context.Context) error {
	if p.stale.Load() || !p.usable() {
		if next := p.owner.take(); next != nil {
			p.owner.exchange(p, next)
			return nil
		}
	}
	if !p.usable() {
		return driver.ErrBadConn
	}
	ping, cancel := context.WithTimeout(ctx, pingReply)
	defer cancel()
	if err := p.Conn.ResetSession(ping); err != nil {
		return driver.ErrBadConn
	}
	p.owner.touch(p.session)
	return nil
}

// IsValid implements driver.Validator: it is called when a connection was used.
func (p *pooledConn) IsValid() bool {
	if readOnly(p.Conn.Conn().PgConn()) && !p.settled.Load() {
		p.owner.suspect(p.address, time.Time{})
	}
	p.owner.mu.Lock()
	defer p.owner.mu.Unlock()
	return p.usable() && p.owner.waiting == 0
}

// Close implements driver.Conn. A connection that a caller waits for is passed on.
func (p *pooledConn) Close() error {
	p.owner.mu.Lock()
	wanted := p.passed || p.owner.waiting > 0
	p.owner.mu.Unlock()
	if wanted && p.usable() && p.Conn.Conn().PgConn().TxStatus() == 'I' {
		p.owner.put(p.session)
	} else {
		p.owner.drop(p.session)
	}
	return nil
}

func (c *connector) touch(s *session) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s.used = time.Now()
}

// exchange puts another connection in the place of one of the pool's.
func (c *connector) exchange(p *pooledConn, next *session) {
	old := p.session
	p.session = next
	c.touch(next)
	c.drop(old)
	c.wakeMaintenance() // there may be more
}
