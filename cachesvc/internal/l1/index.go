package l1

// index finds records by their hash. It is a hash table with open addressing, whose slots
// hold no pointers. Not safe for concurrent use.
//
// A slot is 0 (empty), or a tag in the bits above locationBits and a location in the bits
// below. Invariants:
//  1. The home of a tag is slot tag*len(slots)>>tagBits. A search goes upwards from
//     there, and from the last slot on to the first. No slot on its way is empty
//     before the one that holds the tag; so a search may end at the first empty slot.
//  2. At most four slots in five are in use, so there is an empty one.
//
// Two records may have the same tag: the caller compares the records.
type index struct {
	slots []uint64
	count int
	limit int // the largest number of records
}

const (
	tagBits  = 64 - locationBits
	minSlots = 16
)

// tagOf returns the part of a hash that a slot keeps. Other bits of the hash choose the
// shard. A tag is never 0, so a slot in use is never 0.
func tagOf(hash uint64) uint64 { return hash&(1<<tagBits-1) | 1 }

func slotOf(tag uint64, p location) uint64 { return tag<<locationBits | uint64(p) }

func slotTag(slot uint64) uint64        { return slot >> locationBits }
func slotLocation(slot uint64) location { return location(slot & (1<<locationBits - 1)) }

func (x *index) home(tag uint64) int { return int(tag * uint64(len(x.slots)) >> tagBits) }

func (x *index) next(i int) int {
	if i++; i < len(x.slots) {
		return i
	}
	return 0
}

// find returns the slot that has this tag and a location for which the function is
// returns true, or -1 if there is none.
func (x *index) find(tag uint64, is func(location) bool) int {
	if len(x.slots) == 0 {
		return -1
	}
	for i := x.home(tag); x.slots[i] != 0; i = x.next(i) {
		if slotTag(x.slots[i]) == tag && is(slotLocation(x.slots[i])) {
			return i
		}
	}
	return -1
}

func (x *index) add(tag uint64, p location) {
	if (x.count+1)*5 > len(x.slots)*4 {
		x.grow()
	}
	x.insert(slotOf(tag, p))
	x.count++
}

func (x *index) insert(slot uint64) {
	i := x.home(slotTag(slot))
	for x.slots[i] != 0 {
		i = x.next(i)
	}
	x.slots[i] = slot
}

// grow adds half as many slots, but no more than limit records need.
func (x *index) grow() {
	n := min(max(minSlots, len(x.slots)*3/2), x.limit*5/4+2)
	n = max(n, (x.count+1)*5/4+1)
	old := x.slots
	x.slots = make([]uint64, n)
	for _, slot := range old {
		if slot != 0 {
			x.insert(slot)
		}
	}
}

// remove empties slot i, and moves back the slots that a search would no longer find.
func (x *index) remove(i int) {
	x.count--
	for j := x.next(i); x.slots[j] != 0; j = x.next(j) {
		// The slot at j may move to i unless its home is in (i, j].
		home := x.home(slotTag(x.slots[j]))
		if i < j && (home <= i || home > j) || i > j && home <= i && home > j {
			x.slots[i] = x.slots[j]
			i = j
		}
	}
	x.slots[i] = 0
}
