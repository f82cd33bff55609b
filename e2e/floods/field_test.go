package floods

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	"extauthz/e2e/parts"
)

func TestMain(m *testing.M) {
	must(os.Setenv("E2E_PLAIN_BUILD", "1")) // memory would include the race detector's
	code := m.Run()
	parts.RemoveBuild()
	os.Exit(code)
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

const (
	mib = 1 << 20
	// patience is how long a well-behaved client waits for one answer, since it shares
	// the machine with the flood.
	patience = 15 * time.Second
)

// field is a service under a flood.
type field struct {
	*parts.Service
	t   *testing.T
	key string
	tls *parts.Certificates // for the gRPC listener; nil: plain text
	ctx context.Context     // ends the flood

	attempts, refused atomic.Int64 // connections that the flood opened, and those that the service closed
}

// rss returns the service's present resident memory in bytes.
func (f *field) rss() int64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", f.PID()))
	if err != nil {
		f.t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "VmRSS:")
	kib, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
	if err != nil {
		f.t.Fatal(err)
	}
	return kib << 10
}

// idle returns the most memory that the service takes while only the well-behaved clients
// send requests.
func (f *field) idle() (most int64) {
	clients := f.startClients()
	for end := time.Now().Add(2 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		most = max(most, f.rss())
	}
	clients.stop()
	return most
}

// clients are the well-behaved clients, each on a connection of its own.
type clients struct {
	f      *field
	cancel context.CancelFunc
	wait   sync.WaitGroup
	mu     sync.Mutex
	asked  map[string]int
	failed map[string][]error
	worst  map[string]time.Duration
}

func (f *field) startClients() *clients {
	ctx, cancel := context.WithCancel(context.Background())
	c := &clients{f: f, cancel: cancel, asked: map[string]int{}, failed: map[string][]error{}, worst: map[string]time.Duration{}}
	lasting := f.dialGRPC()
	must(f.check(context.Background(), lasting)) // it exists before the flood
	c.ask(ctx, "gRPC", 20*time.Millisecond, func(ctx context.Context) error { return f.check(ctx, lasting) })
	c.ask(ctx, "gRPC, a new connection", 200*time.Millisecond, func(ctx context.Context) error {
		return parts.Eventually(ctx, func() error { // as a gateway does
			conn := f.dialGRPC()
			defer func() { _ = conn.Close() }()
			return f.check(ctx, conn)
		})
	})
	admin, err := os.ReadFile(f.DataDir + "/admin.key")
	must(err)
	for name, ask := range map[string][2]string{"http": {"http://" + f.HTTP + "/check/orders", "x-api-key: " + f.key}, "admin": {"http://" + f.Admin + "/v1/keys?limit=1", "authorization: Bearer " + strings.TrimSpace(string(admin))},
		"ops": {"http://" + f.Ops + "/readyz", "x-none: "}, "metrics": {"http://" + f.Ops + "/metrics", "x-none: "}} {
		header, value, _ := strings.Cut(ask[1], ": ")
		client := &http.Client{Transport: &http.Transport{}}
		c.ask(ctx, name, 100*time.Millisecond, func(ctx context.Context) error {
			return parts.Eventually(ctx, func() error {
				req, err := http.NewRequestWithContext(ctx, http.MethodGet, ask[0], nil)
				must(err)
				req.Header.Set(header, value)
				res, err := client.Do(req)
				if err != nil {
					return err
				}
				_, err = io.Copy(io.Discard, res.Body)
				_ = res.Body.Close()
				if res.StatusCode != http.StatusOK {
					err = fmt.Errorf("status %d", res.StatusCode)
				}
				return err
			})
		})
	}
	return c
}

// ask sends requests again and again until ctx ends.
func (c *clients) ask(ctx context.Context, name string, pause time.Duration, once func(context.Context) error) {
	c.wait.Go(func() {
		for ctx.Err() == nil {
			began := time.Now()
			one, cancel := context.WithTimeout(ctx, patience)
			err := once(one)
			cancel()
			if ctx.Err() != nil {
				return
			}
			c.mu.Lock()
			c.asked[name]++
			c.worst[name] = max(c.worst[name], time.Since(began))
			if err != nil {
				c.failed[name] = append(c.failed[name], err)
			}
			c.mu.Unlock()
			time.Sleep(pause)
		}
	})
}

// kinds is the number of kinds of clients, and leastAsked how often each sends at least.
const kinds, leastAsked = 6, 2

// allAsked reports whether each client has been answered often enough for a verdict.
func (c *clients) allAsked() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, n := range c.asked {
		if n < leastAsked {
			return false
		}
	}
	return len(c.asked) == kinds
}

func (c *clients) stop() {
	c.cancel()
	c.wait.Wait()
}

// listenerOf returns the listener that a client uses, by its name in floods.
func listenerOf(client string) string {
	if client == "metrics" {
		return "ops"
	}
	listener, _, _ := strings.Cut(client, ",")
	return listener
}

// answered fails the test for clients that were not answered in time. Clients of other
// listeners have to be answered always. Clients of the flooded listener share it with the
// flood, so one of several tries is enough.
func (c *clients) answered(flooded string) {
	t := c.f.t
	t.Helper()
	for name, asked := range c.asked {
		t.Logf("%s: %d asked, %d not answered, slowest %v", name, asked, len(c.failed[name]), c.worst[name].Round(time.Millisecond))
		if errs := c.failed[name]; len(errs) == asked || len(errs) > 0 && listenerOf(name) != flooded {
			t.Errorf("%s: %d of %d were not answered: %v", name, len(errs), asked, errs[0])
		}
	}
	if !c.allAsked() {
		t.Errorf("some were hardly answered: %v", c.asked)
	}
}

func (f *field) dialGRPC() *grpc.ClientConn {
	secure := insecure.NewCredentials()
	if f.tls != nil {
		secure = credentials.NewTLS(f.clientTLS())
	}
	c, err := grpc.NewClient("passthrough:///"+f.GRPC, grpc.WithTransportCredentials(secure))
	must(err)
	return c
}

func (f *field) check(ctx context.Context, c *grpc.ClientConn) error {
	res, err := authv3.NewAuthorizationClient(c).Check(ctx, checkRequest(f.key))
	if err == nil && res.GetOkResponse() == nil {
		err = errors.New("denied")
	}
	return err
}

func checkRequest(key string) *authv3.CheckRequest {
	return &authv3.CheckRequest{Attributes: &authv3.AttributeContext{Request: &authv3.AttributeContext_Request{Http: &authv3.AttributeContext_HttpRequest{
		Method: "GET", Host: "api.example.com", Path: "/orders", Headers: map[string]string{"x-api-key": key}}}}}
}

// flooder is the address of floods. It differs from the clients' address, as the address
// of another pod would.
var flooder = &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}

// dial opens a connection of the flood, which ends with the flood. It returns nil if that
// fails.
func (f *field) dial(address string) net.Conn {
	f.attempts.Add(1)
	c, err := (&net.Dialer{Timeout: patience, LocalAddr: flooder}).DialContext(f.ctx, "tcp", address)
	if err != nil {
		time.Sleep(50 * time.Millisecond) // there are too many connections, or the service is busy
		return nil
	}
	context.AfterFunc(f.ctx, func() { _ = c.Close() })
	return c
}

// crowd runs n goroutines that call once again and again until the flood ends.
func (f *field) crowd(n int, once func()) {
	var all sync.WaitGroup
	for range n {
		all.Go(func() {
			for f.ctx.Err() == nil {
				once()
			}
		})
	}
	all.Wait()
}

// untilClosed waits until the service closes the connection, or the flood ends.
func (f *field) untilClosed(c net.Conn) {
	_, _ = io.Copy(io.Discard, c)
	if f.ctx.Err() == nil {
		f.refused.Add(1)
	}
	_ = c.Close()
}
