package models

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

const (
	maintenanceInterval = time.Second            // between two checks of settings and connections
	maintenancePause    = 250 * time.Millisecond // between two checks at least, even if one is requested
	// hangPause is the minimum time between two occasions on which unused connections are
	// given up because a statement on another connection was not answered.
	hangPause = 10 * time.Second
)

// maintain looks after the connections until the connector is closed.
func (c *connector) maintain() {
	tick := time.NewTicker(maintenanceInterval)
	defer tick.Stop()
	for {
		select {
		case <-c.ctx.Done():
			return
		case <-tick.C:
		case <-c.wake:
		}
		c.expire()
		c.resolveDoubts()
		if c.needsConnection() {
			c.makeConnection()
		}
		select {
		case <-c.ctx.Done():
			return
		case <-time.After(maintenancePause):
		}
	}
}

// expire marks old connections as stale, and closes ready ones that no caller took in
// time.
func (c *connector) expire() {
	if s := c.take(); s != nil {
		c.ready <- s
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for s := range c.sessions {
		if time.Since(s.made) > s.life {
			s.stale.Store(true)
		}
	}
}

// needsConnection reports whether a connection should be made: to try settings that have
// changed, to find out whether connections are accepted again, or to take the
// place of a stale one.
func (c *connector) needsConnection() bool {
	_, generation, err := c.source.current(c.ctx)
	c.recordSettingsRead(err)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.proven == 0 {
		return false // Open has not made its first connection yet
	}
	if c.refused || generation > c.proven {
		return true
	}
	for s := range c.sessions {
		if s.stale.Load() && len(c.ready) == 0 && time.Since(s.used) < 2*readyAge {
			return true // a stale connection that is not used is closed by the pool
		}
	}
	return false
}

func (c *connector) makeConnection() {
	select {
	case c.slots <- struct{}{}:
	default: // others are being made
		return
	}
	s, err := c.open(true)
	if err == nil {
		c.put(s)
		return
	}
	_, generation, _ := c.source.current(c.ctx)
	c.mu.Lock()
	first := generation > c.proven && generation != c.warned && c.ctx.Err() == nil
	if first {
		c.warned = generation
	}
	c.mu.Unlock()
	if first {
		c.log.Warn("the database does not accept the changed connection settings: the last accepted ones stay in use", "error", oneLine(err))
	}
}

// succeeded records that a server accepted a connection.
func (c *connector) succeeded(s *session) {
	c.mu.Lock()
	c.sessions[s] = struct{}{}
	if s.generation > c.proven {
		if c.proven > 0 {
			c.log.Info("the database accepts the changed connection settings: older connections are replaced")
		}
		c.proven, c.accepted = s.generation, s.settings
	}
	for other := range c.sessions {
		if other.generation < c.proven {
			other.stale.Store(true)
		}
	}
	again := c.refused
	c.refused = false
	c.mu.Unlock()
	if again {
		c.pool.SetConnMaxIdleTime(connectionIdle)
		c.log.Info("new connections to the database are accepted again")
	}
}

// failed records that a server refused a connection, unless new settings were only being
// tried. Other errors are ignored. While connections are refused, none is closed for
// being unused.
func (c *connector) failed(err error, try bool) {
	var refused *pgconn.PgError
	if !errors.As(err, &refused) {
		return
	}
	c.mu.Lock()
	n := len(c.sessions)
	first := !c.refused && !try && n > 0
	c.refused = c.refused || first
	c.mu.Unlock()
	if first {
		c.pool.SetConnMaxIdleTime(0)
		c.log.Warn("new connections to the database are refused: existing ones stay in use; check user, password and max_connections", "code", refused.Code, "connections", n)
	}
}

// recordSettingsRead records whether the settings could be read, and logs a change.
func (c *connector) recordSettingsRead(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if failed := err != nil && c.ctx.Err() == nil; failed != c.unread {
		if c.unread = failed; failed {
			c.log.Warn("connection settings can't be read: the last valid ones stay in use", "error", oneLine(err))
		} else {
			c.log.Info("connection settings can be read again")
		}
	}
}

// resolveDoubts requests a new connection from each server that did not answer a
// statement or refused it as read-only. If such a server gives none, but another host
// does, all connections to that server are given up.
func (c *connector) resolveDoubts() {
	c.mu.Lock()
	if time.Since(c.unsolved) < maintenanceInterval {
		c.mu.Unlock()
		return
	}
	doubts := c.doubts
	c.doubts = map[string]time.Time{}
	c.mu.Unlock()
	for address, since := range doubts {
		if c.answers(address) {
			c.clearDoubt(address, since)
		} else if !c.replaced(address) {
			c.recordDoubt(address, since)
			c.mu.Lock()
			c.unsolved = time.Now()
			c.mu.Unlock()
		}
	}
}

// replaced makes a new connection, and reports whether that succeeded. If it leads to
// another server, the connections to the address are given up.
func (c *connector) replaced(address string) bool {
	select {
	case c.slots <- struct{}{}:
	default:
		return false
	}
	s, err := c.open(true)
	if err != nil {
		return false
	}
	c.put(s)
	if s.address != address {
		c.abandon(address)
	}
	return true
}

// answers reports whether the server at an address gives a connection that satisfies the
// settings. A server that refuses the login counts as answering.
func (c *connector) answers(address string) bool {
	route := c.settingsFor(address)
	if route == nil {
		return true // no connection depends on it
	}
	config, _, _ := c.source.current(c.ctx)
	if config == nil {
		return true
	}
	config.Host, config.Port, config.TLSConfig, config.Fallbacks, config.LookupFunc = route.Host, route.Port, route.TLSConfig, route.Fallbacks, route.LookupFunc
	ctx, cancel := context.WithTimeout(c.ctx, nextHostAfter)
	defer cancel()
	conn, err := connectOne(ctx, config)
	if err == nil {
		discard(conn.Conn())
		return true
	}
	var refused *pgconn.PgError
	return errors.As(err, &refused)
}

// settingsFor returns the settings of some connection to an address, nil for none.
func (c *connector) settingsFor(address string) *pgx.ConnConfig {
	c.mu.Lock()
	defer c.mu.Unlock()
	for s := range c.sessions {
		if s.address == address {
			return s.Conn.Conn().Config()
		}
	}
	return nil
}

// abandon ends the use of all connections to an address.
func (c *connector) abandon(address string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := 0
	for s := range c.sessions {
		if s.address == address {
			s.dead.Store(true)
			n++
		}
	}
	if n > 0 {
		c.log.Warn("a database host does not answer or accepts no writes: its connections are moved to another host", "host", address, "connections", n)
	}
}

// clearDoubt records that a server in doubt answers. Connections that were last used
// before the unanswered statement are given up: they may still be dead, for example if
// the address moved to another machine.
func (c *connector) clearDoubt(address string, since time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	unused := !since.IsZero() && time.Since(c.gaveUp) >= hangPause
	if unused {
		c.gaveUp = time.Now()
	}
	for s := range c.sessions {
		if s.address != address {
			continue
		}
		if since.IsZero() {
			s.settled.Store(true)
		}
		if unused && s.used.Before(since.Add(-maintenanceInterval)) {
			s.dead.Store(true)
		}
	}
}
