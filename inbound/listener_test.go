package inbound

import (
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// patience is how long a test waits for something that has to happen soon.
const patience = time.Minute

func listen(t *testing.T, c Config) *Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c.Name, c.Logger, c.Metrics = "test", slog.New(slog.DiscardHandler), NewMetrics(prometheus.NewRegistry())
	in := Listen(l, c)
	t.Cleanup(func() { _ = in.Close() })
	go in.Run(t.Context())
	return in
}

// total returns a counter's value: the sum of all its series, or of those with the label
// value, if one is given.
func total(t *testing.T, l *Listener, name, value string) (sum float64) {
	t.Helper()
	families, err := l.c.Metrics.registerer.(*prometheus.Registry).Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			for _, label := range m.GetLabel() {
				if label.GetValue() == value {
					sum += m.GetCounter().GetValue()
				}
			}
			if value == "" {
				sum += m.GetCounter().GetValue()
			}
		}
	}
	return sum
}

// serve answers every HTTP/1 request with ok.
func serve(t *testing.T, l *Listener) {
	t.Helper()
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") }),
		ReadHeaderTimeout: time.Minute, MaxHeaderBytes: 1 << 20}
	l.Guard(s)
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	t.Cleanup(func() {
		_ = s.Close()
		if err := <-done; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
}

func dial(t *testing.T, l *Listener) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// ask sends a request on a connection and reports whether it was answered.
func ask(c net.Conn) bool {
	_ = c.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nhost: x\r\n\r\n"); err != nil {
		return false
	}
	answer := make([]byte, 1024)
	n, err := c.Read(answer)
	return err == nil && strings.HasPrefix(string(answer[:n]), "HTTP/1.1 200")
}

// closed reports whether the other side closes the connection.
func closed(c net.Conn) bool {
	_ = c.SetReadDeadline(time.Now().Add(patience))
	_, err := c.Read(make([]byte, 1))
	return err != nil && !errors.Is(err, os.ErrDeadlineExceeded)
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: not within %v", what, patience)
		}
	}
}

// from is a connection with the given remote address.
type from struct {
	net.Conn
	address string
}

func (f from) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.ParseIP(f.address)} }

// TestListener_AFloodTakesItsOwnConnections: a connection that a gateway just opened
// stays, although it has sent nothing and the flood's connections have.
func TestListener_AFloodTakesItsOwnConnections(t *testing.T) {
	l := listen(t, Config{Connections: 4, Pending: 1 << 20, Stall: time.Minute})
	conn := func(address string, use int, quiet int64) *Conn {
		c := &Conn{Conn: from{endless{}, address}, l: l}
		c.spoke.Store(use >= speaking)
		c.used.Store(use == useful)
		c.activity.Store(l.clock.Load() - quiet)
		return c
	}
	for _, c := range []struct {
		name   string
		conns  []*Conn
		victim int // index; -1: none
	}{
		{"a flood's connection before a gateway's new one", []*Conn{conn("10.0.0.1", silentUse, 9), conn("10.0.0.2", speaking, 1), conn("10.0.0.2", speaking, 2), conn("10.0.0.2", speaking, 1)}, 2},
		{"a flood by IPv6, from each address of a network", []*Conn{conn("fd00::1", silentUse, 9), conn("fd00:0:0:1::1", speaking, 1), conn("fd00:0:0:1::2", speaking, 2), conn("fd00:0:0:1::3", speaking, 1)}, 2},
		{"never one of use before one of none", []*Conn{conn("10.0.0.1", silentUse, 1), conn("10.0.0.2", useful, 9), conn("10.0.0.2", useful, 9), conn("10.0.0.2", useful, 9)}, 0},
		{"from as many places the silent one", []*Conn{conn("10.0.0.1", speaking, 9), conn("10.0.0.2", speaking, 8), conn("10.0.0.3", silentUse, 1), conn("10.0.0.4", speaking, 1)}, 2},
		{"a gateway with many connections of use keeps them", []*Conn{conn("10.0.0.2", useful, 1), conn("10.0.0.2", useful, 2), conn("10.0.0.2", useful, 2), conn("10.0.0.2", useful, 1)}, -1},
	} {
		for _, conn := range c.conns {
			if victim, ok := l.enter(conn); victim != nil || !ok {
				t.Fatalf("%s: not admitted", c.name)
			}
		}
		l.mu.Lock()
		got := l.leastUseful()
		l.mu.Unlock()
		if want := append(c.conns, nil)[(c.victim+5)%5]; got != want {
			t.Errorf("%s: number %d gives way, want %d", c.name, slices.Index(c.conns, got), c.victim)
		}
		for _, conn := range c.conns {
			conn.release()
		}
		if len(l.networks) != 0 || len(l.conns) != 0 {
			t.Errorf("%s: %d networks and %d connections are left", c.name, len(l.networks), len(l.conns))
		}
	}
}

func TestListener_SilentConnectionsGiveWayBeforeUsefulOnes(t *testing.T) {
	l := listen(t, Config{Connections: 3, Pending: 1 << 20, Stall: time.Minute})
	serve(t, l)
	useful := dial(t, l)
	if !ask(useful) {
		t.Fatal("not answered")
	}
	silent, speaking := dial(t, l), dial(t, l)
	_, _ = io.WriteString(speaking, "GET / HT")
	eventually(t, "all are counted, and one speaks", func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		spoken := 0
		for c := range l.conns {
			if c.use() > silentUse {
				spoken++
			}
		}
		return len(l.conns) == 3 && spoken == 2
	})
	if !ask(dial(t, l)) || !closed(silent) {
		t.Error("a new connection was not served in place of the silent one")
	}
	if !ask(dial(t, l)) || !closed(speaking) {
		t.Error("a new connection was not served in place of the one that began a request")
	}
	// All three have just been useful, so they stay.
	if late := dial(t, l); !closed(late) || !ask(useful) {
		t.Error("a useful connection gave way")
	}
	if n := total(t, l, "extauthz_listener_closed_total", reasonConnections); n != 3 {
		t.Errorf("%v connections were counted as closed, want 3", n)
	}
}

func TestListener_AQuietConnectionGivesWay(t *testing.T) {
	l := listen(t, Config{Connections: 1, Pending: 1 << 20, Stall: time.Minute})
	serve(t, l)
	quiet := dial(t, l)
	if !ask(quiet) {
		t.Fatal("not answered")
	}
	eventually(t, "a new connection takes its place", func() bool {
		l.mu.Lock()
		for c := range l.conns {
			c.activity.Store(l.clock.Load() - int64(quietTime) - 1) // a read may end after the answer, so this is repeated
		}
		l.mu.Unlock()
		return ask(dial(t, l))
	})
	if !closed(quiet) {
		t.Error("the quiet connection was not closed")
	}
}

func TestGuard_HeadsThatAreNotCompleteAreBoundedTogether(t *testing.T) {
	const budget = 4 << 20
	l := listen(t, Config{Connections: 100, Pending: budget, Stall: time.Minute})
	serve(t, l)
	useful := dial(t, l)
	if !ask(useful) {
		t.Fatal("not answered")
	}
	var flooding []net.Conn
	for range 20 {
		c := dial(t, l)
		flooding = append(flooding, c)
		go func() { _, _ = io.WriteString(c, "GET / HTTP/1.1\r\nhost: x\r\nx: "+strings.Repeat("x", 100<<10)) }()
	}
	eventually(t, "some are closed", func() bool {
		return total(t, l, "extauthz_listener_closed_total", reasonMemory) > 0
	})
	eventually(t, "what is held is bounded", func() bool { return l.pending.Load() <= budget })
	if !ask(useful) || !ask(dial(t, l)) {
		t.Error("a client that asks whole requests is not answered")
	}
	for _, c := range flooding {
		_ = c.Close()
	}
	eventually(t, "nothing is held in the end", func() bool { return l.pending.Load() == 0 && l.holding.Load() == 0 })
}

func TestListener_AnAnswerThatIsNotReadIsStalled(t *testing.T) {
	l := listen(t, Config{Connections: 10, Pending: 1 << 20, Stall: 200 * time.Millisecond})
	go func() {
		if c, err := l.Accept(); err == nil {
			for _, err = c.Write(make([]byte, 1<<20)); err == nil; {
				_, err = c.Write(make([]byte, 1<<20))
			}
		}
	}()
	_ = dial(t, l)
	eventually(t, "it is closed", func() bool {
		return total(t, l, "extauthz_listener_closed_total", reasonStalled) == 1 && l.open() == 0
	})
}
