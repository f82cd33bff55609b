//go:build full

package e2e

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"extauthz/e2e/parts"
)

// TestLostReplica runs three replicas behind a real Envoy with the printed configuration.
// One of them is killed; then two hang, like replicas on a node that is cut off.
func TestLostReplica(t *testing.T) {
	if testing.Short() {
		t.Skip("needs Postgres")
	}
	replicas, _ := replicasOn(t, parts.StartPostgres(t), 3, func(dsn string) string {
		return fmt.Sprintf("database: {driver: postgres, dsn: %q}", dsn)
	})
	// Envoy stops calling a hanging replica after its fifth check in a row without an
	// answer. The test on nodes measures how long that takes.
	const patience = 6 * time.Second
	key := replicas[0].NewKey("--scope", "orders:read").Key
	upstream := parts.StartUpstream(t)
	endpoint := func(s *parts.Service) string {
		host, port, _ := strings.Cut(s.GRPC, ":")
		return fmt.Sprintf(`{endpoint: {address: {socket_address: {address: %q, port_value: %s}}}}`, host, port)
	}
	onEach(t, func(t *testing.T, version string) {
		listen := startGateway(t, version, replicas[0].GRPC, upstream.Address, endpoint(replicas[0]), endpoint(replicas[0])+", "+endpoint(replicas[1])+", "+endpoint(replicas[2]))
		traffic := parts.StartStream("http://"+listen+"/orders/1", key, 100)
		defer traffic.Stop()
		traffic.Flow(200) // Envoy knows that all replicas are healthy
		healthy := len(traffic.Failures())

		replicas[0].Kill()
		traffic.Flow(200)
		replicas[0].Restart()
		traffic.Flow(200)
		if failed := len(traffic.Failures()); failed-healthy > 1 {
			t.Errorf("%d requests failed when a replica was killed, want at most the one on its way", failed-healthy)
		}

		before := len(traffic.Failures())
		for _, s := range replicas[:2] {
			s.Signal(syscall.SIGSTOP)
		}
		hung := time.Now()
		traffic.Flow(800)
		for _, s := range replicas[:2] {
			s.Signal(syscall.SIGCONT)
		}
		traffic.Flow(200)
		traffic.Stop()
		failed := traffic.Failures()
		t.Logf("%d of %d requests failed while two of three replicas hung", len(failed)-before, traffic.Sent())
		if len(failed) == 0 {
			return
		}
		if took := failed[len(failed)-1].At.Sub(hung); took > patience {
			t.Errorf("requests failed until %v after two of three replicas hung, want at most %v", took, patience)
		}
	})
}
