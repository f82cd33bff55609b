package parts

import (
	"io"
	"net"
	"sync"
	"testing"
)

// Mute is a listener that accepts connections and never answers on them.
func Mute(tb testing.TB) (address string) {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	m := &conns{}
	tb.Cleanup(func() { _ = l.Close(); m.end() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			m.add(c)
			go func() { _, _ = io.Copy(io.Discard, c) }()
		}
	}()
	return l.Addr().String()
}

// Relay passes bytes between its address and a server.
type Relay struct {
	Address string

	mu     sync.Mutex
	frozen chan struct{} // the connections that were made since the last Strand
	conns  conns
}

// StartRelay starts a relay that ends with the test.
func StartRelay(tb testing.TB, server string) *Relay {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	r := &Relay{Address: l.Addr().String(), frozen: make(chan struct{})}
	tb.Cleanup(func() { _ = l.Close(); r.conns.end() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			r.mu.Lock()
			frozen := r.frozen
			r.mu.Unlock()
			r.conns.add(c)
			s, err := net.Dial("tcp", server)
			if err != nil {
				_ = c.Close()
				continue
			}
			r.conns.add(s)
			go pass(c, s, frozen)
			go pass(s, c, frozen)
		}
	}()
	return r
}

// Strand freezes the existing connections without closing them; new ones work, as when
// an address moves to another machine.
func (r *Relay) Strand() {
	r.mu.Lock()
	defer r.mu.Unlock()
	close(r.frozen)
	r.frozen = make(chan struct{})
}

func pass(from, to net.Conn, frozen <-chan struct{}) {
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		select {
		case <-frozen:
			return
		default:
		}
		if n > 0 {
			if _, err := to.Write(buffer[:n]); err != nil {
				break
			}
		}
		if err != nil {
			break
		}
	}
	_, _ = from.Close(), to.Close()
}

type conns struct {
	mu    sync.Mutex
	all   []net.Conn
	ended bool
}

func (c *conns) add(conn net.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		_ = conn.Close()
	}
	c.all = append(c.all, conn)
}

func (c *conns) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended = true
	for _, conn := range c.all {
		_ = conn.Close()
	}
}
