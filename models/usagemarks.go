package models

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// sequences is a set of batch numbers of one source: all from 1 to low, and the spans
// beyond it. Batches of a source reach the database in any order: from its process, from
// Redis and from its file. The set stays small: a source numbers its batches without
// gaps, so each batch that arrives late fills a gap between spans.
type sequences struct {
	low    uint64
	beyond []span // ascending; none touches another one or low
}

// span holds the numbers from first to last.
type span struct{ first, last uint64 }

// parseSequences parses the stored form of a set.
func parseSequences(low uint64, beyond string) (sequences, error) {
	s := sequences{low: low}
	if beyond == "" {
		return s, nil
	}
	for text := range strings.SplitSeq(beyond, ",") {
		from, to, ranged := strings.Cut(text, "-")
		if !ranged {
			to = from
		}
		first, err1 := strconv.ParseUint(from, 10, 64)
		last, err2 := strconv.ParseUint(to, 10, 64)
		if err1 != nil || err2 != nil || first > last {
			return s, fmt.Errorf("usage_marks.beyond holds %q, which is no list of sequences", text)
		}
		s.insert(span{first, last})
	}
	return s, nil
}

// text is the stored form of the spans.
func (s *sequences) text() string {
	var b strings.Builder
	for i, sp := range s.beyond {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(strconv.FormatUint(sp.first, 10))
		if sp.last != sp.first {
			b.WriteByte('-')
			b.WriteString(strconv.FormatUint(sp.last, 10))
		}
	}
	return b.String()
}

// has reports whether n is in the set.
func (s *sequences) has(n uint64) bool {
	if n <= s.low {
		return true
	}
	_, found := slices.BinarySearchFunc(s.beyond, n, func(sp span, n uint64) int {
		switch {
		case sp.last < n:
			return -1
		case sp.first > n:
			return 1
		default:
			return 0
		}
	})
	return found
}

// add adds n to the set and reports whether it is new.
func (s *sequences) add(n uint64) bool {
	if s.has(n) {
		return false
	}
	s.insert(span{n, n})
	return true
}

// insert merges a span with those that it touches, and with low.
func (s *sequences) insert(in span) {
	var kept []span
	for _, sp := range s.beyond {
		if sp.last+1 < in.first || in.last+1 < sp.first {
			kept = append(kept, sp)
			continue
		}
		in = span{min(in.first, sp.first), max(in.last, sp.last)}
	}
	kept = append(kept, in)
	slices.SortFunc(kept, func(a, b span) int { return cmp.Compare(a.first, b.first) })
	for len(kept) > 0 && kept[0].first <= s.low+1 {
		s.low = max(s.low, kept[0].last)
		kept = kept[1:]
	}
	s.beyond = kept
}
