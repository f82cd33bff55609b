package l1

import (
	"math/bits"
	"sync/atomic"
)

// hot keeps the values of the most used records decoded, so that using them again costs
// no decoding and no lock. It holds nothing that the table does not hold. The table
// clears a value under its lock before it changes or drops the record. It offers a value
// only while that lock keeps the record unchanged.
type hot[T any] struct{ sets []hotSet[T] } // the number of sets is a power of two, or 0

const (
	hotWays = 8 // values in a set at most
	wayBits = 64 / hotWays
)

type hotSet[T any] struct {
	tags    atomic.Uint64 // a part of each value's hash, one byte a way
	touched atomic.Uint32 // one bit a way: set if it was used since it was last considered for replacement
	busy    atomic.Bool   // one offer at a time; others are dropped
	next    uint8         // the way to consider next; under busy
	ways    [hotWays]atomic.Pointer[Value[T]]
}

// newHot returns a hot for this many values, a multiple of hotWays and a power of two.
func newHot[T any](values int) hot[T] { return hot[T]{make([]hotSet[T], values/hotWays)} }

func (h *hot[T]) set(hash uint64) *hotSet[T] {
	if len(h.sets) == 0 {
		return nil
	}
	return &h.sets[hash>>tagBits&uint64(len(h.sets)-1)]
}

func wayTag(hash uint64) uint64 { return hash&(1<<wayBits-1) | 1 }

const (
	wayOnes = 0x0101010101010101
	wayTops = 0x8080808080808080
)

// zeros sets the top bit of each byte that is 0. Above the lowest such byte it may also
// set the top bits of bytes that are not 0. The result is 0 if no byte is 0.
func zeros(bytes uint64) uint64 { return (bytes - wayOnes) &^ bytes & wayTops }

// find returns the value and its way; nil for none. It does not allocate.
func (s *hotSet[T]) find(hash uint64, id string) (*Value[T], int) {
	// zeros may also return ways whose tags differ. They are compared in vain, which does
	// no harm.
	for same := zeros(s.tags.Load() ^ wayTag(hash)*wayOnes); same != 0; same &= same - 1 {
		way := bits.TrailingZeros64(same) / wayBits
		if v := s.ways[way].Load(); v != nil && v.id == id {
			return v, way
		}
	}
	return nil, 0
}

func (h *hot[T]) get(hash uint64, id string) *Value[T] {
	s := h.set(hash)
	if s == nil {
		return nil
	}
	v, way := s.find(hash, id)
	if v != nil && s.touched.Load()>>way&1 == 0 {
		s.touched.Or(1 << way)
	}
	return v
}

// offerEvery keeps hot values in a full set when many other values are used as often:
// only one in so many uses of the others is an offer.
const offerEvery = 32

// worthOffering reports whether to offer a value. turn counts the candidates for full
// sets.
func (h *hot[T]) worthOffering(hash uint64, turn *atomic.Uint32) bool {
	s := h.set(hash)
	return s != nil && (zeros(s.tags.Load()) != 0 || turn.Add(1)%offerEvery == 0)
}

// offer adds a value if its set has a free way or the next way was not used lately.
func (h *hot[T]) offer(hash uint64, v *Value[T]) {
	s := h.set(hash)
	if s == nil || !s.busy.CompareAndSwap(false, true) {
		return
	}
	defer s.busy.Store(false)
	if there, _ := s.find(hash, v.id); there != nil {
		return
	}
	var way int
	if free := zeros(s.tags.Load()); free != 0 {
		way = bits.TrailingZeros64(free) / wayBits
	} else {
		way = int(s.next)
		s.next = (s.next + 1) % hotWays
		if s.takeTouched(way) {
			return
		}
	}
	s.put(way, wayTag(hash), v)
}

// takeTouched reports whether the way was used since the last call.
func (s *hotSet[T]) takeTouched(way int) bool { return s.touched.And(^uint32(1<<way))>>way&1 != 0 }

func (s *hotSet[T]) put(way int, tag uint64, v *Value[T]) {
	s.ways[way].Store(v)
	shift := way * wayBits
	s.tags.Store(s.tags.Load()&^((1<<wayBits-1)<<shift) | tag<<shift)
}

// clear drops the value. The caller's lock keeps others from offering it meanwhile.
func (h *hot[T]) clear(hash uint64, id string) {
	if s := h.set(hash); s != nil {
		if v, way := s.find(hash, id); v != nil {
			s.put(way, 0, nil)
		}
	}
}

// recentlyUsed reports whether the value was used since the last call.
func (h *hot[T]) recentlyUsed(hash uint64, id string) bool {
	s := h.set(hash)
	if s == nil {
		return false
	}
	v, way := s.find(hash, id)
	return v != nil && s.takeTouched(way)
}
