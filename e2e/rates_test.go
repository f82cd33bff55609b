package e2e

import (
	"fmt"
	"math"
	"slices"
	"sync"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"

	"extauthz/e2e/parts"
)

// grant is an allowed check: the decision was made between the two moments.
type grant struct{ sent, answered time.Time }

// TestRates_ReplicasKeepToTheFormula tests the formula of docs/rate-limits.md with three
// replicas on Postgres under steady load; one of them is killed and started again.
func TestRates_ReplicasKeepToTheFormula(t *testing.T) {
	if testing.Short() {
		t.Skip("needs Postgres")
	}
	const replicas, count, per = 3, 60, time.Minute
	all, _ := replicasOn(t, parts.StartPostgres(t), replicas, func(dsn string) string {
		return fmt.Sprintf("database: {driver: postgres, dsn: %q}", dsn)
	})
	k := all[0].NewKey("--scope", "orders:read", "--rate", fmt.Sprintf("%d/m", count))
	for _, s := range all {
		eventually(t, func() error {
			if n := counter(t, s, "extauthz_replicas"); n != replicas {
				return fmt.Errorf("%v replicas counted", n)
			}
			return nil
		})
	}
	granted := make([][]grant, replicas+1) // by process; the last one is the restarted replica
	killed, stop := make(chan struct{}), make(chan struct{})
	var load sync.WaitGroup
	ask := func(process int, s *parts.Service, stop <-chan struct{}) {
		client := authv3.NewAuthorizationClient(dial(t, s))
		load.Go(func() {
			for tick := time.NewTicker(20 * time.Millisecond); ; { // the load's pace
				select {
				case <-stop:
					return
				case <-tick.C:
				}
				sent := time.Now()
				if res, err := client.Check(t.Context(), checkRequest(k.Key)); err == nil && reason(res) == "granted" {
					granted[process] = append(granted[process], grant{sent, time.Now()})
				}
			}
		})
	}
	ask(0, all[0], killed)
	ask(1, all[1], stop)
	ask(2, all[2], stop)
	time.Sleep(4 * time.Second)
	close(killed)
	all[0].Kill()
	all[0].Restart()
	ask(replicas, all[0], stop)
	time.Sleep(4 * time.Second)
	close(stop)
	load.Wait()

	// No replica counted fewer than three, since a killed replica is counted for 15 s
	// more.
	const share = float64(count) / replicas
	var together []grant
	for i, g := range granted {
		within(t, fmt.Sprint("process ", i), g, 1, 1, share, per)
		if least := count / (replicas + 1); len(g) < least { // the restarted replica counts the killed one too
			t.Errorf("process %d: %d checks granted, at least %d are its budget at once", i, len(g), least)
		}
		together = append(together, g...)
	}
	within(t, "all", together, replicas+1, replicas, share, per)
	for _, s := range all {
		s.Stop()
	}
}

// within tests every window of time by the formula: one share at once for each process,
// and one share in each period for each running process.
func within(t *testing.T, name string, granted []grant, processes, running int, share float64, per time.Duration) {
	t.Helper()
	slices.SortFunc(granted, func(a, b grant) int { return a.sent.Compare(b.sent) })
	for i, first := range granted {
		end := first.answered
		for j, last := range granted[i:] {
			if last.answered.After(end) {
				end = last.answered
			}
			window := end.Sub(first.sent)
			most := int(math.Floor(float64(processes)*max(1, share) + float64(running)*share*float64(window)/float64(per)))
			if j+1 > most {
				t.Errorf("%s: %d checks granted in %v, at most %d", name, j+1, window, most)
				return
			}
		}
	}
	t.Logf("%s: %d granted", name, len(granted))
}
