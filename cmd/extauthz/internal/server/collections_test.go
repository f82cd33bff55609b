package server

import "testing"

func TestTablesDoNotDoubleTheHeap(t *testing.T) {
	const mib = 1 << 20
	for _, c := range []struct {
		name         string
		live, tables uint64
		want         int
	}{
		{"a small heap grows as ever", 10 * mib, 0, 100},
		{"a few keys change nothing", 45 * mib, 20 * mib, 100},
		{"a million keys are not counted", 196 * mib, 165 * mib, 24},
		{"what is beside them is", 400 * mib, 200 * mib, 50},
		{"tables that grew since the last collection", 100 * mib, 160 * mib, 48},
		{"nothing was collected yet", 0, 0, 100},
	} {
		if got := growthPercent(c.live, c.tables); got != c.want {
			t.Errorf("%s: %d%%, want %d", c.name, got, c.want)
		}
	}
}
