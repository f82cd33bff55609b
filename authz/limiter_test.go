package authz

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func testLimiter(keys, replicas int) (l *Limiter, clock *atomic.Int64) {
	clock = new(atomic.Int64)
	return NewLimiter(keys, func() int { return replicas }, func() time.Time { return testNow.Add(time.Duration(clock.Load())) }), clock
}

func passed(l *Limiter, family string, rate Rate, tries int) (n int) {
	for range tries {
		if _, _, ok := l.take(family, rate, false); ok {
			n++
		}
	}
	return n
}

func TestLimiter_RefillsEvenly(t *testing.T) {
	for _, c := range []struct {
		rate            string
		replicas        int
		atOnce, perHour int
	}{
		{"10/s", 1, 10, 36000}, {"60/m", 1, 60, 3600}, {"60/m", 3, 20, 1200}, {"5/h", 1, 5, 5}, {"24/d", 1, 24, 1}, {"2/m", 4, 1, 30},
	} {
		rate, err := ParseRate(c.rate)
		if err != nil {
			t.Fatal(err)
		}
		l, clock := testLimiter(100, c.replicas)
		if got := passed(l, "f", rate, 1000); got != c.atOnce {
			t.Errorf("%s on %d replicas: %d at once, want %d", c.rate, c.replicas, got, c.atOnce)
		}
		got := 0
		for range 36000 {
			clock.Add(int64(100 * time.Millisecond))
			got += passed(l, "f", rate, 3)
		}
		if got < c.perHour-1 || got > c.perHour+1 {
			t.Errorf("%s on %d replicas: %d in the hour after, want %d", c.rate, c.replicas, got, c.perHour)
		}
		if got := passed(l, "other", rate, 1000); got != c.atOnce {
			t.Errorf("%s: another key had %d left", c.rate, got)
		}
	}
}

func TestLimiter_RefusalReturnsRetryTime(t *testing.T) {
	l, clock := testLimiter(100, 1)
	rate := Rate{Count: 5, Per: time.Minute}
	for want := 4; want >= 0; want-- {
		if limit, _, ok := l.take("f", rate, false); !ok || limit.Remaining != want {
			t.Errorf("%d remain, want %d", limit.Remaining, want)
		}
	}
	limit, retry, ok := l.take("f", rate, false)
	if ok || retry != 12*time.Second || limit.Remaining != 0 || limit.Reset != time.Minute {
		t.Errorf("got %+v, wait %v, %v", limit, retry, ok)
	}
	clock.Add(int64(retry) - 1)
	if passed(l, "f", rate, 1) != 0 {
		t.Error("passed too soon")
	}
	clock.Add(1)
	if limit, _, ok := l.take("f", rate, true); !ok || limit.Remaining != 1 {
		t.Errorf("a look: %+v, %v", limit, ok)
	}
	if passed(l, "f", rate, 2) != 1 {
		t.Error("a look took the request")
	}
}

func TestLimiter_ChangedRateCountsFromTheNextRequest(t *testing.T) {
	l, clock := testLimiter(100, 1)
	slow, fast := Rate{Count: 5, Per: 24 * time.Hour}, Rate{Count: 100, Per: time.Second}
	passed(l, "f", slow, 10)
	if got := passed(l, "f", fast, 200); got != 0 {
		t.Errorf("%d passed at once: the debt is one period of the new rate", got)
	}
	if _, retry, _ := l.take("f", fast, false); retry > time.Second {
		t.Errorf("to wait %v for a rate of 100/s", retry)
	}
	clock.Add(int64(time.Second))
	if got := passed(l, "f", fast, 200); got != 100 {
		t.Errorf("%d passed a second after the rate was raised", got)
	}
}

func TestLimiter_IsBoundedAndExactUnderConcurrency(t *testing.T) {
	l, clock := testLimiter(limiterShards, 1)
	rate := Rate{Count: 1, Per: time.Second}
	for i := range 10_000 {
		if passed(l, fmt.Sprint(i), rate, 1) != 1 {
			t.Fatal("a key was refused for want of memory")
		}
		clock.Add(1)
	}
	cells := 0
	for i := range l.shards {
		cells += len(l.shards[i].cells)
	}
	if cells > limiterShards {
		t.Errorf("%d cells", cells)
	}
	rate = Rate{Count: 1000, Per: time.Hour}
	var n atomic.Int64
	var users sync.WaitGroup
	for range 8 {
		users.Go(func() { n.Add(int64(passed(l, "busy", rate, 500))) })
	}
	users.Wait()
	if n.Load() != 1000 {
		t.Errorf("%d of a rate of 1000/h", n.Load())
	}
}

func TestLimiter_KnownKeyAllocatesNothing(t *testing.T) {
	l, _ := testLimiter(100, 1)
	rate := Rate{Count: 1000, Per: time.Second}
	l.take("f", rate, false)
	if n := testing.AllocsPerRun(100, func() { l.take("f", rate, false) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// TestLimiter_CountsOnlyAllowedRequests: the authorizer counts allowed requests only, for
// each family.
func TestLimiter_CountsOnlyAllowedRequests(t *testing.T) {
	l, _ := testLimiter(100, 1)
	a, key := authorizer(t, func(c *Config, r *Record, _ *keys) {
		c.Limiter = l
		r.Rate, r.Family = Rate{Count: 2, Per: time.Minute}, "family"
	})
	ask := func(path string) Decision {
		t.Helper()
		d, err := a.Check(t.Context(), get(path, Header{Name: "x-api-key", Value: key}))
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	for range 5 {
		if d := ask("/invoices"); d.Reason != ReasonScope {
			t.Fatalf("got %+v", d)
		}
		if _, steps, err := a.Explain(t.Context(), get("/orders", Header{Name: "x-api-key", Value: key})); err != nil || steps[len(steps)-1].Name != "rate" {
			t.Fatalf("steps %v, %v", steps, err)
		}
	}
	for want := 1; want >= 0; want-- {
		if d := ask("/orders"); !d.Allowed || d.Limit.Remaining != want {
			t.Errorf("got %+v", d)
		}
	}
	if d := ask("/orders"); d.Allowed || d.Reason != ReasonThrottled || d.RetryAfter != 30*time.Second || d.Record == nil {
		t.Errorf("got %+v", d)
	}
	if passed(l, "family", Rate{Count: 2, Per: time.Minute}, 1) != 0 {
		t.Error("the rotated key's successor has a budget of its own")
	}
}
