package authz

import (
	"math/rand/v2"
	"testing"
	"time"
)

// allowedAt is one request that passed.
type allowedAt struct {
	at      time.Duration
	process int
}

// lifetime is that of one process with its limiter. counted is the smallest number of
// replicas that the process counted.
type lifetime struct {
	from, to time.Duration
	l        *Limiter
	counted  int
}

// bound is the documented bound of requests that a process lets through in a time. The
// budget is one period (or one request, if that is more) plus the time; it is divided by
// the smallest cost that a request had.
func bound(rate Rate, counted int, in time.Duration) int {
	each := max(rate.Per*time.Duration(counted)/time.Duration(rate.Count), 1)
	return int((max(rate.Per, each) + in) / each)
}

// TestLimiter_LetsThroughWhatItsFormulaAllows runs random schedules: replicas restart,
// counts are right, late and wrong, requests arrive evenly, in bursts and all the time.
// In no time window may one process let through more than its bound, nor all together
// more than the sum of the bounds.
func TestLimiter_LetsThroughWhatItsFormulaAllows(t *testing.T) {
	tight := 0
	for seed := range uint64(60) {
		r := rand.New(rand.NewPCG(seed, 3))
		rate := Rate{Count: 1 + r.IntN(40), Per: []time.Duration{time.Second, time.Minute, time.Hour}[r.IntN(3)]}
		now := time.Duration(0)
		replicas := 1 + r.IntN(5)
		counted := replicas
		var lives []*lifetime
		newProcess := func() *lifetime {
			p := &lifetime{from: now, to: 1 << 62, counted: counted}
			mine := func() int { p.counted = min(p.counted, counted); return counted }
			p.l = NewLimiter(100, mine, func() time.Time { return testNow.Add(now) })
			lives = append(lives, p)
			return p
		}
		running := make([]*lifetime, replicas)
		for i := range running {
			running[i] = newProcess()
		}
		least := counted
		var passedAll []allowedAt
		for range 600 {
			switch r.IntN(40) {
			case 0: // a restart
				i := r.IntN(len(running))
				running[i].to = now
				running[i] = newProcess()
			case 1, 2: // the count changes, rightly or not
				counted = 1 + r.IntN(6)
				least = min(least, counted)
			case 3:
				now += time.Duration(r.Int64N(int64(rate.Per)))
			default:
				now += time.Duration(r.Int64N(int64(rate.Per)/int64(rate.Count) + 1))
			}
			p := r.IntN(len(running))
			for range 1 + r.IntN(1+rate.Count/4) {
				if _, _, ok := running[p].l.take("f", rate, false); ok {
					for id, life := range lives {
						if life == running[p] {
							passedAll = append(passedAll, allowedAt{now, id})
						}
					}
				}
			}
		}
		for i, first := range passedAll {
			each := map[int]int{}
			for _, last := range passedAll[i:] {
				each[last.process]++
				window := last.at - first.at
				most := bound(rate, lives[last.process].counted, window)
				if each[last.process] > most {
					t.Fatalf("seed %d, %s: process %d let through %d in %v, at most %d", seed, rate, last.process, each[last.process], window, most)
				}
				if each[last.process] == most {
					tight++
				}
			}
		}
		for i := 0; i < len(passedAll); i += 7 {
			for j := i; j < len(passedAll); j += 11 {
				from, to := passedAll[i].at, passedAll[j].at
				most := 0
				for _, life := range lives {
					if life.from <= to && life.to >= from {
						most += bound(rate, least, min(to, life.to)-max(from, life.from))
					}
				}
				if j-i+1 > most {
					t.Fatalf("seed %d, %s: all let through %d in %v, at most %d", seed, rate, j-i+1, to-from, most)
				}
			}
		}
	}
	if tight == 0 {
		t.Error("no window reached its bound: nothing was tested")
	}
}
