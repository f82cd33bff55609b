package inbound

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"sync/atomic"
)

// HeadCost is the most memory, in bytes, that net/http holds for one byte of a request's
// head. The worst case is a head of many short lines, each of which becomes two strings
// and an entry of a map.
const HeadCost = 32

// http1 is the state of a connection that speaks HTTP/1. Its counts are guarded by the
// connection's mu.
type http1 struct {
	reading atomic.Bool // whether a request's head is being read, which is counted; a body is not
	since   int64       // clock of the head's first byte
	bytes   int64       // held for the head
}

func (h *http1) received(c *Conn, n int) {
	c.mu.Lock()
	if h.bytes == 0 {
		h.since = c.l.clock.Load()
	}
	more := int64(n) * HeadCost
	h.bytes += more
	c.add(more)
	c.mu.Unlock()
	c.l.bound(more)
}

// next begins to count a head; done ends the count.
func (h *http1) next(c *Conn) {
	h.done(c)
	h.reading.Store(true)
}

func (h *http1) done(c *Conn) {
	h.reading.Store(false)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.add(-h.bytes)
	h.bytes = 0
}

type connKey struct{}

// Guard makes a server, whose listener is l, count what its connections hold, and speak
// only HTTP/1.1: over HTTP/2 one connection could make as many requests as a thousand.
// Guard sets Handler, ConnState and ConnContext of the server, which must not be set
// afterwards.
func (l *Listener) Guard(s *http.Server) {
	s.Protocols = new(http.Protocols)
	s.Protocols.SetHTTP1(true)
	s.ConnState = func(conn net.Conn, state http.ConnState) {
		if c := connOf(conn); c != nil && (state == http.StateNew || state == http.StateIdle) {
			c.http1.next(c)
		}
	}
	s.ConnContext = func(ctx context.Context, conn net.Conn) context.Context {
		return context.WithValue(ctx, connKey{}, connOf(conn))
	}
	next := s.Handler
	s.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if c, ok := r.Context().Value(connKey{}).(*Conn); ok && c != nil {
			c.http1.done(c)
			c.used.Store(true)
		}
		next.ServeHTTP(w, r)
	})
}

// connOf finds the Listener's connection below TLS.
func connOf(conn net.Conn) *Conn {
	if t, ok := conn.(*tls.Conn); ok {
		conn = t.NetConn()
	}
	c, _ := conn.(*Conn)
	return c
}
