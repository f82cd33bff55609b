package inbound

import (
	"context"
	"crypto/tls"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/tap"
)

// metadataFree is the size, in bytes, up to which a call's metadata is not counted;
// gateways send a quarter of that. Larger metadata is counted as metadataCost times its
// size, since it is kept as texts, lists and a map.
const metadataFree, metadataCost = 2 << 10, 4

var errCrowded = status.Error(codes.Unavailable, "too much is under way on this connection: try again")

// Options makes a gRPC server count what its connections hold. Connections that do not
// come from l are not counted. A call has the time within for its request and its answer;
// a call that streams has it for its first message. streams reports whether a method
// streams; it is called only while the server is serving.
func (l *Listener) Options(secure *tls.Config, within time.Duration, streams func(method string) bool) []grpc.ServerOption {
	inner := insecure.NewCredentials()
	if secure != nil {
		inner = credentials.NewTLS(secure)
	}
	return []grpc.ServerOption{grpc.Creds(transport{inner}), grpc.InTapHandle(l.begin(within, streams)), grpc.StreamInterceptor(firstMessage(within))}
}

// transport makes connections whose frames it reads.
type transport struct {
	credentials.TransportCredentials
}

// identity is a connection's authentication state together with the connection itself.
type identity struct {
	credentials.AuthInfo
	conn *Conn
}

// ServerHandshake does the handshake of TLS or plain text, and begins to read frames.
func (t transport) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn, info, err := t.TransportCredentials.ServerHandshake(raw)
	c, ok := raw.(*Conn)
	if err != nil || !ok {
		return conn, info, err
	}
	c.mu.Lock()
	c.streams = newStreams()
	c.mu.Unlock()
	return &framed{Conn: conn, c: c}, &identity{info, c}, nil
}

// Clone implements credentials.TransportCredentials.
func (t transport) Clone() credentials.TransportCredentials {
	return transport{t.TransportCredentials.Clone()}
}

// framed is a connection whose decrypted bytes are read as frames.
type framed struct {
	net.Conn
	c        *Conn
	portions portions
}

func (f *framed) Read(p []byte) (int, error) {
	n, err := f.portions.read(p, f.Conn, f.passable)
	c := f.c
	if c.gone.Load() {
		return 0, net.ErrClosed
	}
	if n > 0 {
		c.mu.Lock()
		more := c.streams.received(p[:n], c.l.clock.Load())
		c.add(more)
		c.mu.Unlock()
		c.l.bound(more)
	}
	return n, err
}

// passable waits for memory, and returns how many decrypted bytes may be passed on now.
// The connection below does not limit them.
func (f *framed) passable(bytes int) int {
	f.c.awaitMemory()
	return f.c.l.passable(bytes)
}

// Write counts an answer as taken once it is written.
func (f *framed) Write(p []byte) (int, error) {
	n, err := f.Conn.Write(p)
	c := f.c
	c.mu.Lock()
	freed, used := c.streams.sent(p[:n])
	c.add(-freed)
	c.mu.Unlock()
	if used && !c.used.Load() {
		c.used.Store(true)
	}
	return n, err
}

// begin refuses calls of connections that hold more than their share, and gives all
// others a deadline. It runs for each call, on its connection's reader.
func (l *Listener) begin(within time.Duration, streams func(string) bool) tap.ServerInHandle {
	return func(ctx context.Context, call *tap.Info) (context.Context, error) {
		deadline, limited := ctx.Deadline()
		far := limited && time.Until(deadline) > within
		if p, ok := peer.FromContext(ctx); ok {
			if client, ok := p.AuthInfo.(*identity); ok {
				if l.crowded(client.conn) {
					l.c.Metrics.refused.Inc()
					if far { // grpc-go would keep the timer of the refused call until its own deadline
						l.end(client.conn, reasonMemory)
					}
					return ctx, errCrowded
				}
				client.conn.keepMetadata(ctx, call)
			}
		}
		if limited && !far || streams(call.FullMethodName) {
			return ctx, nil
		}
		ctx, cancel := context.WithTimeout(ctx, within)
		_ = cancel // it ends with the call's own context
		return ctx, nil
	}
}

// keepMetadata counts unusually large metadata until the call ends: with HPACK, a few
// bytes of a frame can encode a header list of the maximum size.
func (c *Conn) keepMetadata(ctx context.Context, call *tap.Info) {
	size := 0
	for name, values := range call.Header {
		for _, v := range values {
			size += len(name) + len(v) + 32
		}
	}
	if size <= metadataFree {
		return
	}
	held := int64(size) * metadataCost
	c.hold(held)
	context.AfterFunc(ctx, func() { c.hold(-held) })
}

// firstMessage ends a streaming call whose first message does not arrive in time.
func firstMessage(within time.Duration) grpc.StreamServerInterceptor {
	return func(srv any, s grpc.ServerStream, _ *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
		return handler(srv, &awaited{ServerStream: s, within: within})
	}
}

type awaited struct {
	grpc.ServerStream
	within time.Duration
	once   sync.Once
}

// RecvMsg limits the time for the first message. After an error the handler ends, and
// with it the stream and the goroutine that receives.
func (a *awaited) RecvMsg(m any) (err error) {
	first := false
	a.once.Do(func() { first = true })
	if !first {
		return a.ServerStream.RecvMsg(m)
	}
	done := make(chan error, 1)
	go func() { done <- a.ServerStream.RecvMsg(m) }()
	timer := time.NewTimer(a.within)
	defer timer.Stop()
	select {
	case err := <-done:
		return err
	case <-timer.C:
		return status.Error(codes.DeadlineExceeded, "no message came in time")
	}
}
