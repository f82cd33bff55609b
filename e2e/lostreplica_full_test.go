//go:build full

package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"extauthz/e2e/parts"
)

// TestLostReplica: three replicas behind a real Envoy with the printed configuration,
// of which one is killed, and then two hang as those of a node that is cut off do.
func TestLostReplica(t *testing.T) {
	if testing.Short() {
		t.Skip("needs Postgres")
	}
	replicas, _ := replicasOn(t, parts.StartPostgres(t), 3, func(dsn string) string {
		return fmt.Sprintf("database: {driver: postgres, dsn: %q}", dsn)
	})
	// Envoy leaves a replica that hangs out after its fifth check in a row without an
	// answer; the test on nodes measures how long that takes.
	const patience = 6 * time.Second
	key := replicas[0].NewKey("--scope", "orders:read").Key
	upstream := parts.StartUpstream(t)
	endpoint := func(s *parts.Service) string {
		host, port, _ := strings.Cut(s.GRPC, ":")
		return fmt.Sprintf(`{endpoint: {address: {socket_address: {address: %q, port_value: %s}}}}`, host, port)
	}
	onEach(t, func(t *testing.T, version string) {
		listen := startGateway(t, version, replicas[0].GRPC, upstream.Address, endpoint(replicas[0]), endpoint(replicas[0])+", "+endpoint(replicas[1])+", "+endpoint(replicas[2]))
		traffic := startTraffic("http://"+listen+"/orders/1", key)
		traffic.flow(200) // all replicas are known to be healthy
		healthy, _ := traffic.failures()

		replicas[0].Kill()
		traffic.flow(200)
		replicas[0].Restart()
		traffic.flow(200)
		if failed, _ := traffic.failures(); failed-healthy > 1 {
			t.Errorf("%d requests failed when a replica was killed, want at most the one on its way", failed-healthy)
		}

		before, _ := traffic.failures()
		for _, s := range replicas[:2] {
			s.Signal(syscall.SIGSTOP)
		}
		hung := time.Now()
		traffic.flow(800)
		for _, s := range replicas[:2] {
			s.Signal(syscall.SIGCONT)
		}
		traffic.flow(200)
		traffic.stop()
		failed, last := traffic.failures()
		t.Logf("%d of %d requests failed while two of three replicas hung", failed-before, traffic.sent)
		if took := last.Sub(hung); took > patience {
			t.Errorf("requests failed until %v after two of three replicas hung, want at most %v", took, patience)
		}
	})
}

// traffic is 100 requests a second, whatever becomes of earlier ones.
type traffic struct {
	url, key string
	client   *http.Client
	ends     chan struct{}
	ended    sync.WaitGroup

	mu     sync.Mutex
	sent   int
	failed int
	last   time.Time // when the last request that failed was sent
}

func startTraffic(url, key string) *traffic {
	f := &traffic{url: url, key: key, ends: make(chan struct{}), client: &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 200}}}
	f.ended.Go(func() {
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-f.ends:
				return
			case <-tick.C:
				f.ended.Go(f.request)
			}
		}
	})
	return f
}

func (f *traffic) request() {
	at, status := time.Now(), 0
	if req, err := http.NewRequest(http.MethodGet, f.url, nil); err == nil {
		req.Header.Set("x-api-key", f.key)
		if res, err := f.client.Do(req); err == nil {
			status = res.StatusCode
			_ = res.Body.Close()
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.sent++
	if status != http.StatusOK {
		f.failed++
		if at.After(f.last) {
			f.last = at
		}
	}
}

// flow waits until so many more requests were answered.
func (f *traffic) flow(requests int) {
	answered := func() int {
		f.mu.Lock()
		defer f.mu.Unlock()
		return f.sent
	}
	for target := answered() + requests; answered() < target; {
		time.Sleep(5 * time.Millisecond)
	}
}

// failures are how many requests failed, and when the last of them was sent.
func (f *traffic) failures() (int, time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.failed, f.last
}

func (f *traffic) stop() {
	close(f.ends)
	f.ended.Wait()
}
