package l1

import (
	"sync/atomic"
	"unsafe"
)

const (
	segmentSize = 64 << 10
	// largeBlock and more have a segment to themselves, so that at most a
	// sixteenth of a segment is left over at its end.
	largeBlock = segmentSize / 16
	blockUnit  = 4 // bytes: blocks begin and end at multiples

	// An arena is compacted when more than an eighth of it is waste, beyond what a few
	// segments always waste.
	wasteShare     = 8
	wasteAllowance = 2 * segmentSize
	// Between two steps of compaction it may hold so much more: the segment that is filled,
	// the one that is moved, the spare one and a large block.
	compactionSlack = 4 * segmentSize
)

// arenaCapacity is how many bytes of blocks an arena may hold if it is to take up so
// much in all.
func arenaCapacity(bytes int) int {
	return (bytes - wasteAllowance - compactionSlack) / (wasteShare + 1) * wasteShare
}

// location is where a block is in an arena: the segment above offsetBits, and the offset
// in units below.
type location uint64

const (
	offsetBits   = 16 // of the offset: a segment has fewer units
	segmentBits  = 20
	locationBits = offsetBits + segmentBits
)

// arena keeps blocks of bytes without a pointer to any of them, so that a garbage
// collection has as little to do for a million as for one: it sees segments.
// Blocks are written one after the other; what is freed is waste until the rest
// of its segment is moved elsewhere. Not safe for concurrent use, but for the
// heads of blocks.
type arena struct {
	segments []segment
	empty    []uint32 // indices of segments that have no data
	current  int      // the segment that is being filled; meaningless without any
	live     int      // bytes in blocks
	held     int      // bytes in segments
	spare    []byte   // the last segment of the usual size that was freed
}

type segment struct {
	data []byte // nil: none
	used int    // bytes that were allocated
	live int    // of them not freed
}

// head is the first word of a block: its length in units, and what is noted of
// its record, which changes while others read the record.
type head uint32

const (
	headUses       head = 3      // how often it was used of late, up to 3
	headRefreshing head = 1 << 2 // it was claimed
	headProbation  head = 1 << 3 // it is new, and dropped unless it is used
	headFreed      head = 1 << 4
	headUnitsShift      = 5
	headSize            = 4
)

// blockSize is the size of a block with so many bytes in it.
func blockSize(payload int) int {
	return (payload + headSize + blockUnit - 1) / blockUnit * blockUnit
}

// alloc returns a block for so many bytes.
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

// head is the first word of the block at p.
func (a *arena) head(p location) *atomic.Uint32 {
	data := a.segments[p>>offsetBits].data
	at := int(p&(1<<offsetBits-1)) * blockUnit
	word := data[at : at+headSize]
	return (*atomic.Uint32)(unsafe.Pointer(&word[0])) // segments and units are aligned
}

// payload is the content of the block at p, up to the end of the block.
func (a *arena) payload(p location) []byte {
	data := a.segments[p>>offsetBits].data
	at := int(p&(1<<offsetBits-1)) * blockUnit
	size := int(a.head(p).Load()>>headUnitsShift) * blockUnit
	return data[at+headSize : at+size : at+size]
}

// needsCompaction reports whether a step of compaction is due.
func (a *arena) needsCompaction() bool { return a.held-a.live > wasteAllowance+a.live/wasteShare }

// compact moves the blocks of the segment that wastes most, and so frees it. moved is
// called for each.
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
