package models

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// TestSequences_HoldWhatWasAdded compares the set with a plain map. Numbers are added in
// random order with repetitions, and each step goes through the stored form.
func TestSequences_HoldWhatWasAdded(t *testing.T) {
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 1))
		most := 1 + r.Uint64N(60)
		var s sequences
		seen := map[uint64]bool{}
		for range 200 {
			n := 1 + r.Uint64N(most)
			if fresh := s.add(n); fresh == seen[n] {
				t.Fatalf("seed %d: add(%d) is %v, with %+v", seed, n, fresh, s)
			}
			seen[n] = true
			stored, err := parseSequences(s.low, s.text())
			if err != nil || stored.low != s.low || !slices.Equal(stored.beyond, s.beyond) {
				t.Fatalf("seed %d: %+v is stored as %+v, %v", seed, s, stored, err)
			}
			s = stored
			for n := uint64(1); n <= most+1; n++ {
				if s.has(n) != seen[n] {
					t.Fatalf("seed %d: has(%d) is %v in %+v", seed, n, !seen[n], s)
				}
			}
		}
		if !slices.IsSortedFunc(s.beyond, func(a, b span) int {
			if a.last+1 < b.first {
				return -1
			}
			return 1
		}) || len(s.beyond) > 0 && s.beyond[0].first <= s.low+1 {
			t.Fatalf("seed %d: spans that touch: %+v", seed, s)
		}
	}
}

func TestSequences_ReadWhatAnOlderReleaseLeft(t *testing.T) {
	for _, c := range []struct {
		low    uint64
		beyond string
		want   sequences
	}{
		{9, "", sequences{low: 9}},
		{9, "3,5-7", sequences{low: 9}}, // the older release moved low past these spans
		{9, "8-12,14", sequences{low: 12, beyond: []span{{14, 14}}}},
	} {
		if s, err := parseSequences(c.low, c.beyond); err != nil || s.low != c.want.low || !slices.Equal(s.beyond, c.want.beyond) {
			t.Errorf("%d %q: %+v, %v", c.low, c.beyond, s, err)
		}
	}
	for _, bad := range []string{"x", "3-", "-3", "5-4", "1,,2", "18446744073709551616"} {
		if s, err := parseSequences(0, bad); err == nil {
			t.Errorf("%q: %+v", bad, s)
		}
	}
}
