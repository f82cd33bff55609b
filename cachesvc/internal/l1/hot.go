package l1

import (
	"math/bits"
	"sync/atomic"
)

// hot keeps the values of the most used records as they were read from the
// bytes of a table, so that using them again costs no reading and no lock. It
// holds nothing that the table does not hold: the table clears a value under
// its lock before it changes or drops the record, and offers one only while
// that lock keeps the record as it is.
type hot[T any] struct{ sets []hotSet[T] } // a power of two, or none

const (
	hotWays = 8 // values that may stand in a set
	wayBits = 64 / hotWays
)

type hotSet[T any] struct {
	tags    atomic.Uint64 // a part of each value's hash, a byte each
	touched atomic.Uint32 // bits of the ways that were used since they were last thought of
	busy    atomic.Bool   // one offer at a time; the others are let go
	next    uint8         // the way that is thought of next; under busy
	ways    [hotWays]atomic.Pointer[Value[T]]
}

// newHot returns one with room for so many values, a multiple of hotWays and a
// power of two.
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

// zeros has the top bit of the lowest byte that is 0, and of all others that
// are; of some that are not, too, above that. It is 0 if no byte is.
func zeros(bytes uint64) uint64 { return (bytes - wayOnes) &^ bytes & wayTops }

// find returns the value and its way; nil for none. It does not allocate.
func (s *hotSet[T]) find(hash uint64, id string) (*Value[T], int) {
	// Some others than those that are the same too, which costs a look.
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

// offerEvery keeps those that are hot there when many more are used as often:
// one in so many of the others is offered, where there is no room.
const offerEvery = 32

// worthOffering tells whether a value is worth an offer; turn counts those that were
// thought of.
func (h *hot[T]) worthOffering(hash uint64, turn *atomic.Uint32) bool {
	s := h.set(hash)
	return s != nil && (zeros(s.tags.Load()) != 0 || turn.Add(1)%offerEvery == 0)
}

// offer takes a value in if there is room or the next in turn was not used of
// late.
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
	if room := zeros(s.tags.Load()); room != 0 {
		way = bits.TrailingZeros64(room) / wayBits
	} else {
		way = int(s.next)
		s.next = (s.next + 1) % hotWays
		if s.takeTouched(way) {
			return
		}
	}
	s.put(way, wayTag(hash), v)
}

// takeTouched tells whether the way was used, and takes that as seen.
func (s *hotSet[T]) takeTouched(way int) bool { return s.touched.And(^uint32(1<<way))>>way&1 != 0 }

func (s *hotSet[T]) put(way int, tag uint64, v *Value[T]) {
	s.ways[way].Store(v)
	shift := way * wayBits
	s.tags.Store(s.tags.Load()&^((1<<wayBits-1)<<shift) | tag<<shift)
}

// clear drops the value, which nobody may offer meanwhile.
func (h *hot[T]) clear(hash uint64, id string) {
	if s := h.set(hash); s != nil {
		if v, way := s.find(hash, id); v != nil {
			s.put(way, 0, nil)
		}
	}
}

// recentlyUsed tells whether the value was used since it was last asked, and takes
// that as seen.
func (h *hot[T]) recentlyUsed(hash uint64, id string) bool {
	s := h.set(hash)
	if s == nil {
		return false
	}
	v, way := s.find(hash, id)
	return v != nil && s.takeTouched(way)
}
