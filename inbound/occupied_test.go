package inbound

import (
	"net"
	"testing"
)

// endless is a connection whose client always has something sent.
type endless struct{ net.Conn }

func (endless) Read(p []byte) (int, error) { return len(p), nil }
func (endless) Close() error               { return nil }

// wantRead checks how many bytes one read takes, of a gRPC connection and of the head of
// an HTTP/1 request.
func wantRead(t *testing.T, l *Listener, want int) {
	t.Helper()
	calls := &Conn{Conn: endless{}, l: l, streams: newStreams()}
	head := &Conn{Conn: endless{}, l: l}
	head.http1.reading.Store(true)
	for name, c := range map[string]net.Conn{"gRPC": &framed{calls, calls}, "HTTP/1": head} {
		if n, err := c.Read(make([]byte, 16<<10)); err != nil || n != want {
			t.Errorf("%s: a read takes %d bytes, %v; want %d", name, n, err, want)
		}
	}
	for _, c := range []*Conn{calls, head} {
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestListener_ReadsLittleWhileMuchIsHeld: else each of a thousand connections begins a
// thousand calls before the first of them is counted.
func TestListener_ReadsLittleWhileMuchIsHeld(t *testing.T) {
	l := listen(t, Config{Connections: 9, Pending: 2 << 20, Stall: patience})
	wantRead(t, l, 16<<10)
	other := &Conn{Conn: endless{}, l: l}
	other.hold(1200 << 10)
	wantRead(t, l, crowdedRead)
	other.hold(-1200 << 10)
	wantRead(t, l, 16<<10)
}

// TestConn_EndedConnectionsCountUntilTheyAreClosed: what a connection held is given back
// once its server has noticed the end, and others must not take as much before.
func TestConn_EndedConnectionsCountUntilTheyAreClosed(t *testing.T) {
	l := listen(t, Config{Connections: 9, Pending: 1 << 20, Stall: patience})
	c := &Conn{Conn: endless{}, l: l}
	c.hold(600 << 10)
	l.end(c, reasonMemory)
	if got := l.pending.Load(); got != 0 {
		t.Errorf("%d bytes count for what has to be ended, want 0", got)
	}
	if got := l.occupied(); got != 600<<10 {
		t.Errorf("%d bytes are occupied, want %d", got, 600<<10)
	}
	for range 2 { // a server may close twice
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		if got := l.occupied(); got != 0 {
			t.Errorf("%d bytes are occupied after Close, want 0", got)
		}
	}
}
