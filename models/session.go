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
	// connectionLife is the age at which a connection is replaced, less a random part of
	// up to a third. So connections spread over the servers that are behind a load
	// balancer or a host name by then.
	connectionLife = 30 * time.Minute
	pingReply      = 250 * time.Millisecond // how long a connection that was unused for a second may take to answer a ping
)

// session is one connection to a server.
type session struct {
	*stdlib.Conn
	address    string
	settings   *pgx.ConnConfig // the settings that it was made with
	generation int             // of these settings
	made       time.Time
	readied    time.Time // when it became ready
	life       time.Duration
	used       time.Time // when it was last taken; guarded by connector.mu

	stale   atomic.Bool // is to be replaced, but usable until then
	dead    atomic.Bool // is not to be used any more
	settled atomic.Bool // its server is read-only, and the settings allow that
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

// pooledConn is the connection that database/sql holds. Its session can be replaced
// between two uses. database/sql calls its methods one at a time.
type pooledConn struct {
	*session
	owner  *connector
	passed bool // when it is closed, it is passed to a waiting caller
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

// IsValid implements driver.Validator: it is called after a connection was used.
func (p *pooledConn) IsValid() bool {
	if readOnly(p.Conn.Conn().PgConn()) && !p.settled.Load() {
		p.owner.suspect(p.address, time.Time{})
	}
	p.owner.mu.Lock()
	defer p.owner.mu.Unlock()
	return p.usable() && p.owner.waiting == 0
}

// Close implements driver.Conn. If a caller waits, the connection is passed on instead of
// being closed.
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

// exchange replaces a connection of the pool by another one.
func (c *connector) exchange(p *pooledConn, next *session) {
	old := p.session
	p.session = next
	c.touch(next)
	c.drop(old)
	c.wakeMaintenance() // there may be more to replace
}
