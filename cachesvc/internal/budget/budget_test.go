package budget

import (
	"testing"
	"time"
)

func TestBudget_AllowsItsRateAndItsBurst(t *testing.T) {
	b := New(10*time.Millisecond, 10)
	taken := func(now time.Duration) (n int) {
		for b.Take(now) {
			n++
		}
		return n
	}
	for _, c := range []struct {
		at   time.Duration
		want int
	}{{0, 10}, {5 * time.Millisecond, 0}, {10 * time.Millisecond, 1}, {60 * time.Millisecond, 5}, {time.Hour, 10}} {
		if got := taken(c.at); got != c.want {
			t.Errorf("at %v: %d, want %d", c.at, got, c.want)
		}
	}
}
