package main

import (
	"fmt"
	"time"
)

const coldKeys = 100_000

// cold measures the time from the start of the service until it is ready. Keys are warmed
// before that.
func (s *environment) cold() {
	database := s.seeded(usual.keys, reference)
	table := newTable("Cold start to ready", "warmed, of "+count(usual.keys)+" in Postgres", "seconds, median (range)")
	s.within(func(r *run) {
		here := s.on(r)
		for _, warmed := range []int{0, coldKeys} {
			x := here.start(database, fmt.Sprintf("cache: {warm: {keys: %d, wait: 25s}}", warmed))
			var took []float64
			for range s.rounds {
				x.Stop()
				began := time.Now()
				x.Restart()
				took = append(took, time.Since(began).Seconds())
				if n := here.metric(x, `extauthz_cache_entries{layer="local",namespace="validation"}`); int(n) < warmed*99/100 {
					r.Fatalf("ready with %.0f keys of %d", n, warmed)
				}
			}
			x.Stop()
			table.add(count(warmed), "**"+spreadOf(took).String()+"**")
			s.say("ready with %d keys after %s s", warmed, spreadOf(took))
		}
	})
	s.report(table)
}
