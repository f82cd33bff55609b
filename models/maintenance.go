package models

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

const (
	maintenanceInterval = time.Second            // between two looks at settings and connections
	maintenancePause    = 250 * time.Millisecond // at least, where something asks for one
	// hangPause is how often, at most, unused connections are given up because a
	// statement on another one was not answered.
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

// expire marks old connections, and closes those that are ready and unused.
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
		return false // Open has not come that far
	}
	if c.refused || generation > c.proven {
		return true
	}
	for s := range c.sessions {
		if s.stale.Load() && len(c.ready) == 0 && time.Since(s.used) < 2*readyAge {
			return true // one that is not used is closed by the pool
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

// succeeded takes in that a server accepted a connection.
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

// failed records that no connection could be made, or none with new settings. Where a
// server refuses it, no other connection is closed for being unused.
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

// resolveDoubts requests a new connection from the servers that did not answer a
// statement, or refused it as read-only. One that gives none, while another host does,
// loses all of its connections.
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

// replaced reports whether another server took over from the one at the address, or
// whether that one answers again.
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

// answers reports whether the server at an address gives a connection that satisfies
// the settings. A server that refuses the credentials answers.
func (c *connector) answers(address string) bool {
	route := c.settingsFor(address)
	if route == nil {
		return true // nothing depends on it
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

// clearDoubt records that a server in doubt answers. Connections that were not used
// since a statement was not answered are given up: they may lead nowhere all the
// same (an address that moved to another machine).
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
