package parts

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
)

// Upstream is an HTTP/1.1 server that records exactly what reached it, byte for byte, and
// answers 200 with it.
type Upstream struct {
	Address string

	mu       sync.Mutex
	requests []string // request line and header lines, each with CRLF
}

// StartUpstream listens on a free port until the test ends.
func StartUpstream(tb testing.TB) *Upstream {
	tb.Helper()
	u, stop, err := ListenUpstream("127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(stop)
	return u
}

// ListenUpstream listens on an address until stop is called.
func ListenUpstream(address string) (u *Upstream, stop func(), err error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, nil, err
	}
	u = &Upstream{Address: l.Addr().String()}
	var connections sync.WaitGroup
	var mu sync.Mutex
	open := map[net.Conn]bool{}
	connections.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open[c] = true
			mu.Unlock()
			connections.Go(func() {
				u.serve(c)
				mu.Lock()
				delete(open, c)
				mu.Unlock()
			})
		}
	})
	return u, func() {
		_ = l.Close()
		mu.Lock()
		for c := range open {
			_ = c.Close()
		}
		mu.Unlock()
		connections.Wait()
	}, nil
}

func (u *Upstream) serve(c net.Conn) {
	defer func() { _ = c.Close() }()
	for r := bufio.NewReader(c); ; {
		var head strings.Builder
		for {
			line, err := r.ReadString('\n')
			if err != nil {
				return
			}
			head.WriteString(line)
			if line == "\r\n" {
				break
			}
		}
		u.mu.Lock()
		u.requests = append(u.requests, head.String())
		u.mu.Unlock()
		if _, err := io.WriteString(c, fmt.Sprintf("HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: %d\r\n\r\n%s", head.Len(), head.String())); err != nil {
			return
		}
	}
}

// Count is how many requests have reached the upstream.
func (u *Upstream) Count() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return len(u.requests)
}
