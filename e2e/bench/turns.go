package main

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// participant is one of the servers that take turns.
type participant struct {
	*target
	reason string            // the reason that its answers must have
	beside func(*run) func() // begins work in the background of its turns, and returns what ends it; nil: none
	// requests are the participant's own requests, if its keys differ from the others';
	// nil: the load's.
	requests [][]byte
}

// takeTurns lets every participant serve the same load, one after the other, for a number
// of rounds. Every other round has the reverse order, so that the first one has no
// advantage. A round before these does not count: it warms the participants, and each of
// its answers is checked.
func takeTurns(r *run, rounds int, l load, participants ...participant) [][]turn {
	turns := make([][]turn, len(participants))
	for round := range rounds + 1 {
		for i := range participants {
			if round%2 == 1 {
				i = len(participants) - 1 - i
			}
			c, now := participants[i], l
			now.reason, now.looks = c.reason, lookEvery
			if c.requests != nil {
				now.requests = c.requests
			}
			if round == 0 {
				now.lasts, now.looks = min(l.lasts, time.Second), 1
			}
			end := func() {}
			if c.beside != nil {
				end = c.beside(r)
			}
			t, err := c.drive(r.ctx, now)
			end()
			r.must(err)
			if round > 0 {
				turns[i] = append(turns[i], t)
			}
		}
	}
	return turns
}

// spread is the median of some values with their range.
type spread struct{ median, low, high float64 }

func spreadOf(values []float64) spread {
	values = slices.Sorted(slices.Values(values))
	return spread{middle(values), values[0], values[len(values)-1]}
}

// String formats ratios.
func (s spread) String() string { return fmt.Sprintf("%.2f (%.2f–%.2f)", s.median, s.low, s.high) }

// ratio compares two participants round by round.
func ratio(a, b []turn, of func(turn) float64) spread {
	values := make([]float64, len(a))
	for i := range a {
		values[i] = of(a[i]) / of(b[i])
	}
	return spreadOf(values)
}

// median of a participant's turns.
func median[T cmp.Ordered](turns []turn, of func(turn) T) T {
	values := make([]T, len(turns))
	for i, t := range turns {
		values[i] = of(t)
	}
	return middle(slices.Sorted(slices.Values(values)))
}

func middle[T any](sorted []T) T { return sorted[len(sorted)/2] }

func cpu(t turn) float64 { return float64(t.cpu) / float64(time.Microsecond) }

func p99(t turn) float64 { return float64(t.at(.99)) }

// latencies returns p50, p99 and p99.9 of a participant, each the median of its turns.
func latencies(turns []turn) string {
	at := func(p float64) string {
		return milliseconds(median(turns, func(t turn) time.Duration { return t.at(p) }))
	}
	return at(.5) + " / " + at(.99) + " / " + at(.999)
}

func milliseconds(d time.Duration) string {
	return fmt.Sprintf("%.2f", float64(d)/float64(time.Millisecond))
}
