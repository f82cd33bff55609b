package inbound

import (
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// pauseForMemory is the time between two tests of whether a connection may read on.
const pauseForMemory = 20 * time.Millisecond

// Conn is one connection of a Listener. It counts bytes as they pass, and never changes
// them.
type Conn struct {
	net.Conn
	l    *Listener
	from *network // set when it is admitted

	activity atomic.Int64 // clock of the last read
	writing  atomic.Int64 // clock of the beginning of a write that has not returned; 0: none
	spoke    atomic.Bool  // it sent something
	used     atomic.Bool  // it sent a complete request and was answered
	gone     atomic.Bool  // it is not counted any more, and reads nothing; set with mu held
	portions portions     // of HTTP/1

	mu      sync.Mutex
	held    int64    // bytes that are held for it
	leaving int64    // bytes that it held when it was ended
	streams *streams // HTTP/2; nil: HTTP/1, or nothing yet
	http1   http1
}

// Read reads and counts bytes. It waits to pass them on while all connections together
// hold too much and this one holds more than its share. A connection that was ended
// passes on nothing, since nothing would count it.
func (c *Conn) Read(p []byte) (int, error) {
	n, err := c.portions.read(p, c.Conn, c.passable)
	if c.gone.Load() {
		return 0, net.ErrClosed
	}
	if n > 0 && c.http1.reading.Load() {
		c.http1.received(c, n)
	}
	return n, err
}

// passable waits until bytes may be passed on, and returns how many of those that were
// read.
func (c *Conn) passable(bytes int) int {
	c.activity.Store(c.l.clock.Load())
	if !c.spoke.Load() {
		c.spoke.Store(true)
	}
	c.awaitMemory()
	if c.http1.reading.Load() {
		return c.l.passable(bytes)
	}
	return bytes
}

func (c *Conn) awaitMemory() {
	for c.l.occupied() > c.l.c.Pending && c.overShare() {
		time.Sleep(pauseForMemory) // shed closes connections meanwhile, perhaps this one
	}
}

func (c *Conn) overShare() bool { return c.holds() > c.l.share() }

// Write writes, and records since when, so that a sweep detects a client that does not
// read.
func (c *Conn) Write(p []byte) (int, error) {
	c.writing.Store(c.l.clock.Load())
	n, err := c.Conn.Write(p)
	c.writing.Store(0)
	return n, err
}

// Close closes the connection and stops counting what it held. Its server calls it after
// it has given up the connection's calls.
func (c *Conn) Close() error {
	c.release()
	c.mu.Lock()
	c.l.leaving.Add(-c.leaving)
	c.leaving = 0
	c.mu.Unlock()
	return c.Conn.Close()
}

// release stops counting the connection, and reports whether it was counted before. The
// bytes that it held count as leaving until its server has closed it.
func (c *Conn) release() bool {
	c.mu.Lock()
	counted := !c.gone.Load()
	if counted {
		c.leaving = c.held
		c.l.leaving.Add(c.leaving)
	}
	c.add(-c.held)
	c.gone.Store(true)
	c.mu.Unlock()
	if counted {
		c.l.forget(c)
	}
	return counted
}

// hold counts bytes that are held for the connection; a negative number releases bytes.
func (c *Conn) hold(bytes int64) {
	c.mu.Lock()
	c.add(bytes)
	c.mu.Unlock()
	c.l.bound(bytes)
}

// add counts bytes for hold. c.mu is held.
func (c *Conn) add(bytes int64) {
	if c.gone.Load() || bytes == 0 {
		return
	}
	before := c.held > 0
	c.held += bytes
	c.l.pending.Add(bytes)
	switch after := c.held > 0; {
	case after && !before:
		c.l.holding.Add(1)
	case before && !after:
		c.l.holding.Add(-1)
	}
}

// How useful a connection has been.
const (
	silentUse = iota // it has sent nothing
	speaking
	useful // it sent a complete request and was answered
)

func (c *Conn) use() int {
	switch {
	case c.used.Load():
		return useful
	case c.spoke.Load():
		return speaking
	}
	return silentUse
}

func (c *Conn) holds() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.held
}

// sweep reports whether the connection is stalled.
func (c *Conn) sweep(now, stall int64) bool {
	writing := c.writing.Load()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.streams != nil {
		c.add(-c.streams.sweep())
		if since := c.streams.unfinished(); since != 0 && now-since > stall {
			return true
		}
	}
	return writing != 0 && now-writing > stall
}

// weigh returns the bytes that are held because of the client, since when the oldest of
// them are held, and all bytes that are held.
func (c *Conn) weigh(now int64) (stuck, since, held int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.streams != nil {
		stuck, since = c.streams.stuck(now)
		return stuck, since, c.held
	}
	return c.held, c.http1.since, c.held
}
