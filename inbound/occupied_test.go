package inbound

import (
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
)

// endless is a connection whose client never stops sending.
type endless struct{ net.Conn }

func (endless) Read(p []byte) (int, error) { return len(p), nil }
func (endless) Close() error               { return nil }

// late is a connection whose client sends nothing until wait returns.
type late struct {
	endless
	wait func()
}

func (l late) Read(p []byte) (int, error) {
	l.wait()
	return len(p), nil
}

// wantRead checks how many bytes one read returns: of a gRPC connection, and of the head
// of an HTTP/1 request.
func wantRead(t *testing.T, l *Listener, want int) {
	t.Helper()
	calls := &Conn{Conn: endless{}, l: l, streams: newStreams()}
	head := &Conn{Conn: endless{}, l: l}
	head.http1.reading.Store(true)
	for name, c := range map[string]net.Conn{"gRPC": &framed{Conn: calls, c: calls}, "HTTP/1": head} {
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

// TestListener_ReadsLittleWhileMuchIsHeld: otherwise each of a thousand connections could
// begin a thousand calls before the first one is counted.
func TestListener_ReadsLittleWhileMuchIsHeld(t *testing.T) {
	l := listen(t, Config{Connections: 9, Pending: 2 << 20, Stall: patience})
	wantRead(t, l, 16<<10)
	other := &Conn{Conn: endless{}, l: l}
	other.hold(1200 << 10)
	wantRead(t, l, crowdedRead)
	other.hold(-1200 << 10)
	wantRead(t, l, 16<<10)
}

// TestListener_PassesOnLittleOfWhatWaitingReadsBring: little is passed on even if the
// read began while nothing was held.
func TestListener_PassesOnLittleOfWhatWaitingReadsBring(t *testing.T) {
	l := listen(t, Config{Connections: 9, Pending: 2 << 20, Stall: patience})
	other := &Conn{Conn: endless{}, l: l}
	var once sync.Once
	client := late{wait: func() { once.Do(func() { other.hold(1200 << 10) }) }}
	c := &Conn{Conn: client, l: l}
	c.http1.reading.Store(true)
	for range 3 {
		if n, err := c.Read(make([]byte, 4<<10)); err != nil || n != crowdedRead {
			t.Errorf("a read passes on %d bytes, %v; want %d", n, err, crowdedRead)
		}
	}
	other.hold(-1200 << 10)
	if n, err := c.Read(make([]byte, 4<<10)); err != nil || n != 1<<10 {
		t.Errorf("the last read passes on %d bytes, %v; want the rest, %d", n, err, 1<<10)
	}
}

// TestConn_PassesOnNothingOnceEnded: its bytes would not be counted, and closing can take
// longer than reading what the client has sent.
func TestConn_PassesOnNothingOnceEnded(t *testing.T) {
	l := listen(t, Config{Connections: 9, Pending: 2 << 20, Stall: patience})
	for name, left := range map[string]bool{"with bytes that were read": true, "with bytes to be read": false} {
		calls := &Conn{Conn: endless{}, l: l, streams: newStreams()}
		head := &Conn{Conn: endless{}, l: l}
		head.http1.reading.Store(true)
		for ended, c := range map[*Conn]net.Conn{calls: &framed{Conn: calls, c: calls}, head: head} {
			if left {
				other := &Conn{Conn: endless{}, l: l}
				other.hold(1200 << 10)
				if _, err := c.Read(make([]byte, 16<<10)); err != nil {
					t.Fatal(err)
				}
				other.hold(-1200 << 10)
			}
			ended.release()
			if n, err := c.Read(make([]byte, 16<<10)); n != 0 || !errors.Is(err, net.ErrClosed) {
				t.Errorf("%s: %T passes on %d bytes, %v; want none, %v", name, c, n, err, net.ErrClosed)
			}
			_ = c.Close()
		}
	}
}

// TestPortions_LoseNothing: each byte is returned once and in order, and the error after
// the last byte.
func TestPortions_LoseNothing(t *testing.T) {
	want := strings.Repeat("abcdefg", 1000)
	for most := 1; most < 9000; most = most*3 + 1 {
		from := iotest.DataErrReader(strings.NewReader(want))
		var p portions
		read := func(b []byte) (int, error) {
			return p.read(b, from, func(n int) int { return min(n, most) })
		}
		got, err := io.ReadAll(readerFunc(read))
		if err != nil || string(got) != want {
			t.Errorf("by %d bytes: %d bytes come, %v; want the %d that were sent", most, len(got), err, len(want))
		}
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// TestConn_EndedConnectionsCountUntilTheyAreClosed: the memory of an ended connection is
// free only after its server has noticed the end, so others must not use it before.
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
