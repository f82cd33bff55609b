package membership

import "sync/atomic"

// bloomFilter is a Bloom filter. A hash that was added is always found. Another hash is
// found with a probability of one in two thousand, as long as no more hashes were added
// than the capacity. Safe for concurrent use.
type bloomFilter struct {
	bits     []atomic.Uint64
	added    atomic.Int64
	capacity int64
}

const (
	filterBitsPerKey = 16
	filterProbes     = 8
)

func newBloomFilter(capacity int) *bloomFilter {
	return &bloomFilter{bits: make([]atomic.Uint64, capacity*filterBitsPerKey/64+1), capacity: int64(capacity)}
}

// probe calls f with each bit of a hash until f returns false.
func (p *bloomFilter) probe(h uint64, f func(word *atomic.Uint64, bit uint64) bool) {
	step := h>>32 | 1 // odd: all bits are reached (Kirsch and Mitzenmacher)
	n := uint64(len(p.bits)) * 64
	for range filterProbes {
		at := h % n
		if !f(&p.bits[at/64], 1<<(at%64)) {
			return
		}
		h += step
	}
}

func (p *bloomFilter) add(h uint64) {
	fresh := false
	p.probe(h, func(word *atomic.Uint64, bit uint64) bool {
		fresh = word.Or(bit)&bit == 0 || fresh
		return true
	})
	if fresh {
		p.added.Add(1)
	}
}

func (p *bloomFilter) has(h uint64) bool {
	there := true
	p.probe(h, func(word *atomic.Uint64, bit uint64) bool {
		there = word.Load()&bit != 0
		return there
	})
	return there
}

func (p *bloomFilter) full() bool { return p.added.Load() > p.capacity }
