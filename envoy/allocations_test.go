//go:build !race

package envoy

import "testing"

// With the race detector, pools drop elements at random. So tests that count allocations
// run without it (make test).

// TestService_DecisionAllocatesNothing: no decision allocates, allowed or denied, from
// the request's bytes to the answer's bytes.
func TestService_DecisionAllocatesNothing(t *testing.T) {
	a, texts := decider(t)
	for name, c := range encoders {
		s := deciding(t, c, a)
		for request, req := range benched(texts) {
			data := marshalled(t, req)
			ask(t, s, data) // reused memory grows to its final size
			if n := testing.AllocsPerRun(1000, func() { ask(t, s, data) }); n >= 1 {
				t.Errorf("%s, %s: %v allocations", name, request, n)
			}
		}
	}
}
