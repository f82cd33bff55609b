package l1

import (
	"sync/atomic"
	"unsafe"
)

const (
	segmentSize = 64 << 10
	// A block of largeBlock bytes or more has a segment to itself, so that at most a
	// sixteenth of a segment is left over at its end.
	largeBlock = segmentSize / 16
	blockUnit  = 4 // bytes: blocks begin and end at multiples of it

	// An arena is compacted when more than an eighth of it is waste, beyond what a few
	// segments always waste.
	wasteShare     = 8
	wasteAllowance = 2 * segmentSize
	// Between two steps of compaction an arena may hold this much more: the segment that
	// is being filled, the one that is being moved, the spare one and a large block.
	compactionSlack = 4 * segmentSize
)

// arenaCapacity returns how many bytes of blocks an arena may hold so that it takes up no
// more than these bytes in all.
func arenaCapacity(bytes int) int {
	return (bytes - wasteAllowance - compactionSlack) / (wasteShare + 1) * wasteShare
}

// location is the position of a block in an arena. The bits above offsetBits are the
// segment, the bits below are the offset within it, in units of blockUnit.
type location uint64

const (
	offsetBits   = 16 // a segment has fewer units than 1<<offsetBits
	segmentBits  = 20
	locationBits = offsetBits + segmentBits
)

// arena keeps blocks of bytes without a pointer to any of them. A garbage collection sees
// segments only, so a million blocks cost it no more than one. Blocks are written one
// after the other. A freed block is waste until the other blocks of its segment are moved
// elsewhere. Not safe for concurrent use, except for the heads of blocks.
type arena struct {
	segments []segment
	empty    []uint32 // indices of segments that have no data
	current  int      // the segment that is being filled; meaningless if there is none
	live     int      // bytes in blocks that are not freed
	held     int      // bytes in segments
	spare    []byte   // the last segment of the usual size that was freed
}

type segment struct {
	data []byte // nil: the segment has no data
	used int    // bytes that were allocated, freed ones included
	live int    // of these, bytes that are not freed
}

// head is the first word of a block. It holds the block's length in units, and notes
// about the block's record that change while others read the record.
type head uint32

const (
	headUses       head = 3      // how often the record was used lately, up to 3
	headRefreshing head = 1 << 2 // the record was claimed, see [Table.Claim]
	headProbation  head = 1 << 3 // the record is new, and is dropped unless it is used
	headFreed      head = 1 << 4
	headUnitsShift      = 5
	headSize            = 4
)

// blockSize returns the size of a block with a payload of this many bytes.
func blockSize(payload int) int {
	return (payload + headSize + blockUnit - 1) / blockUnit * blockUnit
}

// alloc returns a new block for a payload of this many bytes.
func (a *arena) alloc(payload int) location {
	size := blockSize(payload)
	var at int
	switch {
	case size >= largeBlock:
		at = a.open(make([]byte, size))
	case len(a.segments) == 0 || a.segments[a.current].data == nil || a.segments[a.current].used+size > len(a.segments[a.current].data):
		data := a.spare
		if a.spare = nil; data == nil {
			data = make([]byte, segmentSize)
		}
		at = a.open(data)
		a.current = at
	default:
		at = a.current
	}
	s := &a.segments[at]
	p := location(at<<offsetBits | s.used/blockUnit)
	s.used += size
	s.live += size
	a.live += size
	a.head(p).Store(uint32(size / blockUnit << headUnitsShift))
	return p
}

func (a *arena) open(data []byte) (at int) {
	a.held += len(data)
	if n := len(a.empty); n > 0 {
		at = int(a.empty[n-1])
		a.empty = a.empty[:n-1]
	} else {
		at = len(a.segments)
		a.segments = append(a.segments, segment{})
	}
	a.segments[at] = segment{data: data}
	return at
}

// free frees a block.
func (a *arena) free(p location) {
	at := int(p >> offsetBits)
	s, h := &a.segments[at], a.head(p)
	size := int(h.Load()>>headUnitsShift) * blockUnit
	h.Or(uint32(headFreed))
	s.live -= size
	a.live -= size
	if s.live > 0 {
		return
	}
	if at == a.current && len(s.data) == segmentSize {
		s.used = 0
		return
	}
	a.close(at)
}

func (a *arena) close(at int) {
	s := &a.segments[at]
	a.held -= len(s.data)
	if len(s.data) == segmentSize {
		a.spare = s.data
	}
	*s = segment{}
	a.empty = append(a.empty, uint32(at))
}

// head returns the first word of the block at p.
func (a *arena) head(p location) *atomic.Uint32 {
	data := a.segments[p>>offsetBits].data
	at := int(p&(1<<offsetBits-1)) * blockUnit
	word := data[at : at+headSize]
	return (*atomic.Uint32)(unsafe.Pointer(&word[0])) // segments and units are aligned
}

// payload returns the content of the block at p, up to the end of the block.
func (a *arena) payload(p location) []byte {
	data := a.segments[p>>offsetBits].data
	at := int(p&(1<<offsetBits-1)) * blockUnit
	size := int(a.head(p).Load()>>headUnitsShift) * blockUnit
	return data[at+headSize : at+size : at+size]
}

// needsCompaction reports whether a step of compaction is due.
func (a *arena) needsCompaction() bool { return a.held-a.live > wasteAllowance+a.live/wasteShare }

// compact moves the blocks of the segment that wastes most elsewhere, and so frees the
// segment. It calls moved for each block.
func (a *arena) compact(moved func(from, to location)) {
	worst := -1
	for i := range a.segments {
		s := &a.segments[i]
		if i != a.current && len(s.data) == segmentSize && (worst < 0 || s.live < a.segments[worst].live) {
			worst = i
		}
	}
	if worst < 0 {
		return
	}
	for used := 0; used < a.segments[worst].used; {
		from := location(worst<<offsetBits | used/blockUnit)
		h := head(a.head(from).Load())
		size := int(h>>headUnitsShift) * blockUnit
		used += size
		if h&headFreed != 0 {
			continue
		}
		to := a.alloc(size - headSize)
		copy(a.payload(to), a.payload(from))
		a.head(to).Store(uint32(h))
		moved(from, to)
		a.free(from) // the last one closes the segment
	}
}
