package e2e

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"extauthz/e2e/parts"
)

// TestRollout_RollingRestartFailsNoRequest: two replicas run behind a real Envoy. Each is
// ended as a platform does it and started again, while clients send as many requests as
// the machine can serve.
func TestRollout_RollingRestartFailsNoRequest(t *testing.T) {
	a, b := twoReplicas(t, func(dsn string) string {
		return fmt.Sprintf("grpc: {drain_delay: 2s}\ndatabase: {driver: postgres, dsn: %q}", dsn)
	})
	key := a.NewKey("--scope", "orders:read").Key
	upstream := parts.StartUpstream(t)
	endpoint := func(address string) string {
		host, port, _ := strings.Cut(address, ":")
		return fmt.Sprintf(`{endpoint: {address: {socket_address: {address: %q, port_value: %s}}}}`, host, port)
	}
	for _, version := range parts.Versions() {
		t.Run("envoy-"+version, func(t *testing.T) {
			listen := startGateway(t, version, a.GRPC, upstream.Address, endpoint(a.GRPC), endpoint(a.GRPC)+", "+endpoint(b.GRPC))
			var mu sync.Mutex
			answers := map[int]int{}
			stop := make(chan struct{})
			var clients sync.WaitGroup
			client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 16}, Timeout: 10 * time.Second}
			began := time.Now()
			for range 16 {
				clients.Go(func() {
					for {
						select {
						case <-stop:
							return
						case <-time.After(12 * time.Millisecond):
						}
						req, err := http.NewRequest(http.MethodGet, "http://"+listen+"/orders", nil)
						if err != nil {
							t.Error(err)
							return
						}
						req.Header.Set("x-api-key", key)
						status := 0
						res, err := client.Do(req)
						if err == nil {
							_, _ = io.Copy(io.Discard, res.Body)
							_ = res.Body.Close()
							status = res.StatusCode
						}
						mu.Lock()
						answers[status]++
						mu.Unlock()
					}
				})
			}
			time.Sleep(2 * time.Second) // Envoy knows that both are healthy
			for range 2 {
				for _, s := range []*parts.Service{a, b} {
					s.Stop()
					s.Restart()
					time.Sleep(2 * time.Second) // Envoy has noticed that it is back; a platform waits for readiness likewise
				}
			}
			took := time.Since(began)
			close(stop)
			clients.Wait()
			if len(answers) != 1 {
				t.Errorf("answers by status: %v", answers)
			}
			t.Logf("%.0f requests a second", float64(answers[200])/took.Seconds())
		})
	}
	a.Stop()
	b.Stop()
}
