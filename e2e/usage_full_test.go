//go:build full

package e2e

import (
	"math/rand/v2"
	"testing"
	"time"
)

// TestUsage_RandomOutagesAndKills runs random ordeals, with and without Redis.
func TestUsage_RandomOutagesAndKills(t *testing.T) {
	for _, with := range []string{"Redis", "no Redis"} {
		t.Run(with, func(t *testing.T) {
			seed := rand.Uint64()
			t.Logf("seed %d", seed)
			r := rand.New(rand.NewPCG(seed, 0))
			any := func(from []string) string { return from[r.IntN(len(from))] }
			var all []ordeal
			for range 12 {
				all = append(all, ordeal{any(ordeals.database), any(ordeals.redis), any(ordeals.replica), time.Duration(r.IntN(14_000)) * time.Millisecond})
			}
			usageUnder(t, with, all)
		})
	}
}
