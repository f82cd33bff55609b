//go:build !race

package envoy

import "testing"

// The race detector has pools forget at random, so what counts allocations runs
// without it (make test).

// TestService_DecisionAllocatesNothing: allowed or denied, bytes in and bytes out.
func TestService_DecisionAllocatesNothing(t *testing.T) {
	a, texts := decider(t)
	for name, c := range encoders {
		s := deciding(t, c, a)
		for request, req := range benched(texts) {
			data := marshalled(t, req)
			ask(t, s, data) // memory grows to its size
			if n := testing.AllocsPerRun(1000, func() { ask(t, s, data) }); n >= 1 {
				t.Errorf("%s, %s: %v allocations", name, request, n)
			}
		}
	}
}
