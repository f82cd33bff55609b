package inbound

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
)

const (
	healthCheck = "/grpc.health.v1.Health/Check"
	healthWatch = "/grpc.health.v1.Health/Watch"
)

// serveGRPC serves the gRPC health service.
func serveGRPC(t *testing.T, l *Listener, within time.Duration) {
	t.Helper()
	s := grpc.NewServer(append(l.Options(nil, within, func(method string) bool { return method == healthWatch }),
		grpc.MaxConcurrentStreams(1000), grpc.MaxHeaderListSize(128<<10))...)
	healthv1.RegisterHealthServer(s, health.NewServer())
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	t.Cleanup(func() {
		s.Stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func client(t *testing.T, l *Listener) healthv1.HealthClient {
	t.Helper()
	c, err := grpc.NewClient("passthrough:///"+l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return healthv1.NewHealthClient(c)
}

func healthy(t *testing.T, c healthv1.HealthClient) error {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	_, err := c.Check(ctx, &healthv1.HealthCheckRequest{})
	return err
}

// raw is a client that writes frames of HTTP/2 itself.
type raw struct {
	net.Conn
	*http2.Framer
	block bytes.Buffer
	hpack *hpack.Encoder
	over  map[uint32]bool // streams that have ended
}

func speak(t *testing.T, l *Listener, settings ...http2.Setting) *raw {
	t.Helper()
	c := dial(t, l)
	r := &raw{Conn: c, Framer: http2.NewFramer(c, c), over: map[uint32]bool{}}
	r.hpack = hpack.NewEncoder(&r.block)
	if _, err := io.WriteString(c, http2.ClientPreface); err != nil {
		t.Fatal(err)
	}
	if err := r.WriteSettings(settings...); err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *raw) headers(method string, more ...hpack.HeaderField) []byte {
	r.block.Reset()
	for _, h := range append([]hpack.HeaderField{{Name: ":method", Value: "POST"}, {Name: ":scheme", Value: "http"}, {Name: ":path", Value: method},
		{Name: ":authority", Value: "x"}, {Name: "content-type", Value: "application/grpc"}}, more...) {
		_ = r.hpack.WriteField(h)
	}
	return r.block.Bytes()
}

func (r *raw) call(id uint32, method string, more ...hpack.HeaderField) {
	_ = r.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: r.headers(method, more...), EndHeaders: true})
}

// await waits until the wanted number of streams have ended.
func (r *raw) await(want int) error {
	_ = r.SetReadDeadline(time.Now().Add(patience))
	for len(r.over) < want {
		f, err := r.ReadFrame()
		if err != nil {
			return err
		}
		if h := f.Header(); h.Type == http2.FrameRSTStream || h.Type == http2.FrameHeaders && h.Flags.Has(http2.FlagHeadersEndStream) {
			r.over[h.StreamID] = true
		}
	}
	return nil
}

// TestOptions_ACallThatIsNotCompleteEnds: each kind of incomplete call ends, and its
// connection stays usable.
func TestOptions_ACallThatIsNotCompleteEnds(t *testing.T) {
	l := listen(t, Config{Connections: 10, Pending: 4 << 20, Stall: time.Minute})
	serveGRPC(t, l, 300*time.Millisecond)
	r := speak(t, l)
	r.call(1, healthCheck)
	r.call(3, healthCheck, hpack.HeaderField{Name: "grpc-timeout", Value: "1H"})
	r.call(5, healthWatch)
	r.call(7, healthCheck)
	_ = r.WriteData(7, false, []byte{0, 0, 0, 0, 100, 1, 2})
	r.call(9, "/no.such.Service/Method")
	r.call(11, healthCheck, hpack.HeaderField{Name: "grpc-encoding", Value: "br"})
	_ = r.WriteData(11, false, []byte{1, 0, 0, 0, 100, 1, 2})
	if err := r.await(6); err != nil {
		t.Fatalf("only %v ended: %v", r.over, err)
	}
	r.call(13, healthCheck)
	_ = r.WriteData(13, true, make([]byte, 5))
	if err := r.await(7); err != nil {
		t.Errorf("the connection does not go on: %v", err)
	}
	eventually(t, "nothing is held in the end", func() bool { return l.pending.Load() == 0 })
}

// TestOptions_AWatchLasts: only its first message has a time limit.
func TestOptions_AWatchLasts(t *testing.T) {
	l := listen(t, Config{Connections: 10, Pending: 4 << 20, Stall: time.Minute})
	serveGRPC(t, l, 200*time.Millisecond)
	w, err := client(t, l).Watch(t.Context(), &healthv1.HealthCheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Recv(); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { _, err := w.Recv(); done <- err }()
	select {
	case err := <-done:
		t.Errorf("it ended: %v", err)
	case <-time.After(time.Second):
	}
}

// TestOptions_WhatIsHeldIsBounded: for each way to hold memory, while a client on a
// connection of its own is answered. In the end nothing is held.
func TestOptions_WhatIsHeldIsBounded(t *testing.T) {
	if testing.Short() {
		t.Skip("floods for seconds")
	}
	const budget = 4 << 20
	for name, flooding := range map[string]func(r *raw){
		"headers": func(r *raw) {
			for i := range 1000 {
				r.call(uint32(2*i+1), healthCheck)
			}
		},
		"watches": func(r *raw) {
			for i := range 1000 {
				r.call(uint32(2*i+1), healthWatch)
			}
		},
		"messages": func(r *raw) {
			for i := range 100 {
				r.call(uint32(2*i+1), healthCheck)
				_ = r.WriteData(uint32(2*i+1), false, append([]byte{0, 0, 15, 255, 255}, make([]byte, 16000)...))
			}
		},
		"bytes": func(r *raw) {
			r.call(1, healthCheck)
			_ = r.WriteData(1, false, []byte{0, 0, 15, 255, 255})
			for range 20_000 {
				_ = r.WriteData(1, false, []byte{1})
			}
		},
		"compressed headers": func(r *raw) {
			large := make([]hpack.HeaderField, 30)
			for i := range large {
				large[i] = hpack.HeaderField{Name: "x-large-bin", Value: string(bytes.Repeat([]byte("A"), 3900))}
			}
			for i := range 40 {
				r.call(uint32(2*i+1), healthCheck, large...)
			}
		},
		"headers without an end": func(r *raw) {
			_ = r.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: r.headers(healthCheck)})
			for range 1000 {
				_ = r.WriteContinuation(1, false, []byte{0x82, 0x82, 0x82, 0x82, 0x82, 0x82})
			}
		},
		"resets": func(r *raw) {
			for i := range 1500 {
				r.call(uint32(2*i+1), healthCheck)
				_ = r.WriteRSTStream(uint32(2*i+1), http2.ErrCodeCancel)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := listen(t, Config{Connections: 100, Pending: budget, Stall: time.Minute})
			serveGRPC(t, l, time.Minute)
			c := client(t, l)
			if err := healthy(t, c); err != nil {
				t.Fatal(err)
			}
			var all []*raw
			for range 20 {
				r := speak(t, l)
				all = append(all, r)
				go func() { _, _ = io.Copy(io.Discard, r.Conn) }()
				go flooding(r)
			}
			// One read of 32 KiB on each connection may add this much in total.
			const more = 20 * (32 << 10 / 20) * (streamCost + 1024) / 20
			for end := time.Now().Add(500 * time.Millisecond); time.Now().Before(end); {
				if held := l.pending.Load(); held > budget+more {
					t.Fatalf("%d bytes are held, want %d", held, budget+more)
				}
				if err := healthy(t, c); err != nil {
					t.Fatalf("a client that does nothing wrong: %v", err)
				}
			}
			for _, r := range all {
				_ = r.Close()
			}
			eventually(t, "nothing is held in the end", func() bool { return l.pending.Load() == 0 && l.holding.Load() == 0 && l.open() == 1 })
		})
	}
}

// TestOptions_ACrowdedConnectionIsRefusedNotClosed: complete calls of a connection over
// its share are refused with a reason, and those of other connections are answered.
func TestOptions_ACrowdedConnectionIsRefusedNotClosed(t *testing.T) {
	l := listen(t, Config{Connections: 10, Pending: 64 * streamCost, Stall: time.Minute})
	serveGRPC(t, l, time.Minute)
	busy, other := client(t, l), client(t, l)
	var refused bool
	for range 60 { // each Watch stays open
		w, err := busy.Watch(t.Context(), &healthv1.HealthCheckRequest{})
		if err == nil {
			_, err = w.Recv()
		}
		refused = refused || status.Code(err) == codes.Unavailable
	}
	if !refused || total(t, l, "extauthz_grpc_refused_streams_total", "") == 0 {
		t.Error("no call was refused")
	}
	if err := healthy(t, other); err != nil {
		t.Errorf("another connection: %v", err)
	}
	if n := l.open(); n != 2 {
		t.Errorf("%d connections are open, want 2", n)
	}
}

// TestStreams_CountAlikeHoweverBytesArrive: the counts are equal if bytes arrive one by
// one, in pieces or at once.
func TestStreams_CountAlikeHoweverBytesArrive(t *testing.T) {
	var b bytes.Buffer
	b.WriteString(http2.ClientPreface)
	f := http2.NewFramer(&b, nil)
	f.AllowIllegalWrites = true
	for _, err := range []error{f.WriteSettings(), f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: make([]byte, 50), EndHeaders: true}),
		f.WriteData(1, false, make([]byte, 7000)), f.WritePing(false, [8]byte{}), f.WriteHeaders(http2.HeadersFrameParam{StreamID: 3, BlockFragment: make([]byte, 20)}),
		f.WriteContinuation(3, false, make([]byte, 10)), f.WriteContinuation(3, true, make([]byte, 10)), f.WriteData(3, true, make([]byte, 10)), f.WriteRSTStream(1, 8),
		f.WriteData(99, false, make([]byte, 10)), f.WriteHeaders(http2.HeadersFrameParam{StreamID: 5, BlockFragment: make([]byte, 20), EndStream: true, EndHeaders: true})} {
		if err != nil {
			t.Fatal(err)
		}
	}
	want := ""
	for _, piece := range []int{b.Len(), 1, 2, 3, 8, 9, 10, 100, 1000} {
		s, held := newStreams(), int64(0)
		for p := b.Bytes(); len(p) > 0; {
			n := min(piece, len(p))
			held += s.received(p[:n], 7)
			p = p[n:]
		}
		got := fmt.Sprintf("%d %v %v", held, s.open, s.unfinished())
		if want == "" {
			want = got
		}
		if got != want {
			t.Errorf("in pieces of %d: %s, want %s", piece, got, want)
		}
		if len(s.open) != 3 || !s.open[1].reset || !s.open[3].complete || !s.open[5].complete || s.unfinished() != 0 {
			t.Errorf("in pieces of %d: %s", piece, got)
		}
		freed := s.sweep()
		var answers bytes.Buffer
		a := http2.NewFramer(&answers, nil)
		_ = a.WriteHeaders(http2.HeadersFrameParam{StreamID: 3, BlockFragment: make([]byte, 20), EndHeaders: true})
		_ = a.WriteData(3, false, make([]byte, 200))
		_ = a.WriteHeaders(http2.HeadersFrameParam{StreamID: 3, BlockFragment: make([]byte, 20), EndHeaders: true, EndStream: true})
		_ = a.WriteRSTStream(5, 7)
		used := false
		for p := answers.Bytes(); len(p) > 0; {
			n := min(piece, len(p))
			f, u := s.sent(p[:n])
			freed, used, p = freed+f, used || u, p[n:]
		}
		if freed != held || !used || len(s.open) != 0 {
			t.Errorf("in pieces of %d: %d of %d are freed, used %v, open %v", piece, freed, held, used, s.open)
		}
	}
}

// TestStreams_AFrameThatIsNotCompleteIsFound: an incomplete frame is detected, and the
// next one counts from its own beginning.
func TestStreams_AFrameThatIsNotCompleteIsFound(t *testing.T) {
	var b bytes.Buffer
	b.WriteString(http2.ClientPreface)
	f := http2.NewFramer(&b, nil)
	_ = f.WriteSettings()
	_ = f.WritePing(false, [8]byte{})
	_ = f.WritePing(false, [8]byte{})
	p, s := b.Bytes(), newStreams()
	last := len(p) - 17 // a PING is 17 bytes
	s.received(p[:last-3], 5)
	if s.unfinished() != 5 {
		t.Errorf("since %d, want 5", s.unfinished())
	}
	s.received(p[last-3:last-1], 6)
	if s.unfinished() != 5 {
		t.Errorf("since %d, want 5: it is the same frame", s.unfinished())
	}
	s.received(p[last-1:last+1], 7)
	if s.unfinished() != 7 {
		t.Errorf("since %d, want 7: it is the next frame", s.unfinished())
	}
	s.received(p[last+1:], 8)
	if s.unfinished() != 0 {
		t.Errorf("since %d, want none", s.unfinished())
	}
}
