package server

import "testing"

func TestCollections_TablesDoNotDoubleTheHeap(t *testing.T) {
	const mib = 1 << 20
	for _, c := range []struct {
		name         string
		live, tables uint64
		held         uint64
		want         int
	}{
		{"a small heap is not collected all the time", 16 * mib, 0, 0, 300},
		{"one that is nearly empty neither", 2 * mib, 0, 0, 400},
		{"a large one doubles", 100 * mib, 0, 0, 100},
		{"with a few keys", 48 * mib, 20 * mib, 0, 100},
		{"a million keys are not counted", 196 * mib, 165 * mib, 0, 24},
		{"what is beside them is", 400 * mib, 200 * mib, 0, 50},
		{"tables that grew since the last collection", 100 * mib, 160 * mib, 0, 48},
		{"what clients hold is not counted", 60 * mib, 0, 40 * mib, 33},
		{"while they hold much the heap grows little", 50 * mib, 0, 60 * mib, 32},
		{"nothing was collected yet", 0, 0, 0, 400},
	} {
		if got := growthPercent(c.live, growth(c.live, c.tables, c.held)); got != c.want {
			t.Errorf("%s: %d%%, want %d", c.name, got, c.want)
		}
	}
}
