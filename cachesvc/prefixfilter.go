package cachesvc

import "sync/atomic"

// prefixFilter is a Bloom filter: what was added is always found, and of the
// rest about one in two thousand while no more was added than there is room
// for. It may be read and added to at once.
type prefixFilter struct {
	bits     []atomic.Uint64
	added    atomic.Int64
	capacity int64
}

const (
	filterBitsPerKey = 16
	filterProbes     = 8
)

func newPrefixFilter(room int) *prefixFilter {
	return &prefixFilter{bits: make([]atomic.Uint64, room*filterBitsPerKey/64+1), capacity: int64(room)}
}

// probe calls f with the places of a hash until it returns false.
func (p *prefixFilter) probe(h uint64, f func(word *atomic.Uint64, bit uint64) bool) {
	step := h>>32 | 1 // odd: all places are reached (Kirsch and Mitzenmacher)
	n := uint64(len(p.bits)) * 64
	for range filterProbes {
		at := h % n
		if !f(&p.bits[at/64], 1<<(at%64)) {
			return
		}
		h += step
	}
}

func (p *prefixFilter) add(h uint64) {
	fresh := false
	p.probe(h, func(word *atomic.Uint64, bit uint64) bool {
		fresh = word.Or(bit)&bit == 0 || fresh
		return true
	})
	if fresh {
		p.added.Add(1)
	}
}

func (p *prefixFilter) has(h uint64) bool {
	there := true
	p.probe(h, func(word *atomic.Uint64, bit uint64) bool {
		there = word.Load()&bit != 0
		return there
	})
	return there
}

func (p *prefixFilter) full() bool { return p.added.Load() > p.capacity }
