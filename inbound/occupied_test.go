package inbound

import (
	"net"
	"testing"
)

// endless is a connection whose client always has something sent.
type endless struct{ net.Conn }

func (endless) Read(p []byte) (int, error) { return len(p), nil }
func (endless) Close() error               { return nil }

// read is how many bytes one read of a gRPC connection takes.
func read(t *testing.T, l *Listener) int {
	t.Helper()
	c := &Conn{Conn: endless{}, l: l, streams: newStreams()}
	n, err := (&framed{c, c}).Read(make([]byte, 16<<10))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestListener_ReadsLittleWhileMuchIsHeld: else each of a thousand connections begins a
// thousand calls before the first of them is counted.
func TestListener_ReadsLittleWhileMuchIsHeld(t *testing.T) {
	l := listen(t, Config{Connections: 9, Pending: 1 << 20, Stall: patience})
	if got := read(t, l); got != 16<<10 {
		t.Errorf("a read takes %d bytes while nothing is held, want all", got)
	}
	other := &Conn{Conn: endless{}, l: l}
	other.hold(600 << 10)
	if got := read(t, l); got != crowdedRead {
		t.Errorf("a read takes %d bytes while more than half of what may be is held, want %d", got, crowdedRead)
	}
	other.hold(-600 << 10)
	if got := read(t, l); got != 16<<10 {
		t.Errorf("a read takes %d bytes afterwards, want all", got)
	}
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
