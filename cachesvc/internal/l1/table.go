package l1

import (
	"hash/maphash"
	"sync"
	"sync/atomic"

	"extauthz/cachesvc/internal/freshness"
)

// The bounds of a table's bytes. The upper one keeps the segments of a shard within what a
// location can express.
const (
	MinBytes = 1 << 20
	MaxBytes = 64 << 30
)

const (
	maxShards        = 64
	minShard         = 256     // entries worth a shard
	minBytesPerShard = 2 << 20 // and bytes
	shardMargin      = 64      // keeps the locks of two shards off one cache line
	shardShift       = 58      // the bits of a hash above it choose the shard

	hotShare   = 8    // at most one value in so many is hot
	hotLargest = 1024 // bytes of a record that may be hot: as a value it takes up to three times that

	// A record larger than this part of a shard's bytes, or than largestRecord, is not
	// kept.
	recordShare   = 4
	largestRecord = 1 << 20
)

// How many values are hot at most, in a table of what exists and in one of negative
// entries: a garbage collection looks at each, for a microsecond.
const (
	HotValues         = 1024
	HotNegativeValues = 512
)

// Codec writes the data of a value into the bytes that a table keeps.
type Codec[T any] interface {
	// append writes the data of v, which is stored under id. What it takes of the values
	// that records have in common belongs to these bytes.
	append(to []byte, id string, v *Value[T]) []byte
	// read sets v.Data, which is empty; id, stamp and an empty scratch buffer are set.
	read(from string, v *Value[T])
	// release returns what append took for these bytes.
	release(from string)
}

// Table is L1: values as bytes, without a pointer to any of them, so that
// neither memory nor collections suffer from a million. Its shards each have a
// read lock, an [index] into an [arena], [admission] and what is [hot].
//
// Invariants, under a shard's lock:
//  1. Each block of the arena that was not freed is the record of one id, and
//     one slot of the index, under the tag of the id's hash, holds its location.
//  2. There are at most admission.limit records, in blocks of at most
//     admission.bytes; the arena holds no more than its share of the table's bytes.
//  3. What hot holds under an id was read from the record that is there now.
//  4. What a codec took for a record is returned once, when its bytes are freed.
//  5. admission.probation records are marked as on probation, and the tag of each
//     is in the queue.
//
// A value that was returned is independent of all that, and does not change; one that was
// read into the caller's own holds nothing of what that held before. A table keeps neither
// an id nor a value that it is given. Safe for concurrent use.
type Table[T any] struct {
	seed   maphash.Seed
	shards []shard[T]
}

type shard[T any] struct {
	seed  maphash.Seed
	codec Codec[T]

	mu        sync.RWMutex
	index     index
	arena     arena
	admission admission
	buffer    []byte // for writing records
	hot       hot[T]
	turn      atomic.Uint32 // of records that were used and are not hot
	_         [shardMargin]byte
}

// NewTable returns a table for limit values in so many bytes, of which up to hotLimit are
// kept as they were read.
func NewTable[T any](limit, bytes, hotLimit int, c Codec[T]) *Table[T] {
	n := 1
	for n < maxShards && limit/(2*n) >= minShard && bytes/(2*n) >= minBytesPerShard {
		n *= 2
	}
	hotEach := hotWays
	for hotEach*2*n <= hotLimit && hotEach*hotShare*n <= limit {
		hotEach *= 2
	}
	t := &Table[T]{seed: maphash.MakeSeed(), shards: make([]shard[T], n)}
	for i := range t.shards {
		sh := &t.shards[i]
		sh.seed, sh.codec = t.seed, c
		sh.admission = newAdmission(max(limit/n, 1), arenaCapacity(bytes/n))
		sh.index.limit = sh.admission.limit
		sh.hot = newHot[T](hotEach)
	}
	return t
}

func (t *Table[T]) of(id string) (*shard[T], uint64) {
	hash := maphash.String(t.seed, id)
	return &t.shards[hash>>shardShift&uint64(len(t.shards)-1)], hash
}

// Get returns a value that other callers share, or one of the caller's own: into, or a new
// one where that is nil; nil where there is none. into holds nothing that is still in use.
// It does not allocate for a value that is hot, nor where into had a value of this size
// before; except for one in offerEvery of those that could be hot.
func (t *Table[T]) Get(id string, into *Value[T]) *Value[T] {
	sh, hash := t.of(id)
	if v := sh.hot.get(hash, id); v != nil {
		return v
	}
	sh.mu.RLock()
	defer sh.mu.RUnlock()
	i := sh.find(hash, id)
	if i < 0 {
		return nil
	}
	p := slotLocation(sh.index.slots[i])
	word := sh.arena.head(p)
	h := head(word.Load())
	if h&headUses < headUses {
		word.CompareAndSwap(uint32(h), uint32(h+1)) // losing to another caller's use is fine
	}
	offer := h&headUses > 0 && h>>headUnitsShift <= hotLargest/blockUnit && sh.hot.worthOffering(hash, &sh.turn)
	v := into
	if v == nil || offer {
		v = new(Value[T])
	}
	sh.read(p, v)
	if offer {
		sh.hot.offer(hash, v)
	}
	return v
}

// read sets v to the record at p. An earlier result about v does not apply to it.
func (sh *shard[T]) read(p location, v *Value[T]) {
	v.Checked.Store(0)
	v.Refreshing.Store(false)
	v.scratch.reset()
	f := decoder{textOf(sh.arena.payload(p))}
	v.id = v.scratch.copyString(f.text(int(f.uvarint())))
	var nothing T
	v.Data = nothing
	if f.stamp(&v.Stamp); v.Found {
		sh.codec.read(f.rest, v)
	}
}

// recordID is the id that a record begins with. It is valid as long as the bytes are.
func recordID(payload []byte) string {
	f := decoder{textOf(payload)}
	return f.text(int(f.uvarint()))
}

func (sh *shard[T]) find(hash uint64, id string) int {
	return sh.index.find(tagOf(hash), func(p location) bool { return recordID(sh.arena.payload(p)) == id })
}

// Put stores v under id. A value that is too large is not kept.
func (t *Table[T]) Put(id string, v *Value[T]) {
	sh, hash := t.of(id)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	sh.write(id, v)
	size, i := blockSize(len(sh.buffer)), sh.find(hash, id)
	if i >= 0 && !sh.fitsInPlace(i, size) {
		sh.remove(i, hash)
		i = -1
	}
	switch {
	case i >= 0:
		sh.replace(i, hash, id)
	case size <= sh.largest():
		sh.insert(hash)
	default:
		sh.discard(sh.buffer)
	}
	if cap(sh.buffer) > largeBlock {
		sh.buffer = nil
	}
	for range 1 + size/largeBlock { // what a large record displaced is spread over many segments
		sh.compact()
	}
}

// largest is the size of the largest block that is kept.
func (sh *shard[T]) largest() int { return min(sh.admission.bytes/recordShare, largestRecord) }

// fitsInPlace reports whether a record of this size may replace the one in slot i without
// another record being dropped.
func (sh *shard[T]) fitsInPlace(i, size int) bool {
	had := blockSize(len(sh.arena.payload(slotLocation(sh.index.slots[i]))))
	return size <= had || size <= sh.largest() && sh.arena.live-had+size <= sh.admission.bytes
}

// write sets the buffer to the record.
func (sh *shard[T]) write(id string, v *Value[T]) {
	b := appendText(sh.buffer[:0], id)
	b = appendStamp(b, &v.Stamp)
	if v.Found {
		b = sh.codec.append(b, id, v)
	}
	sh.buffer = b
}

// insert adds the record in the buffer.
func (sh *shard[T]) insert(hash uint64) {
	size := blockSize(len(sh.buffer))
	sh.makeSpace(size)
	tries := sh.admission.onProbation(sh.index.count, sh.arena.live+size, hash)
	p := sh.arena.alloc(len(sh.buffer))
	copy(sh.arena.payload(p), sh.buffer)
	sh.index.add(tagOf(hash), p)
	if tries {
		sh.startProbation(tagOf(hash), p)
	}
}

// replace replaces the record in slot i by the one in the buffer, in the same block if that
// is neither too small nor more than twice too large.
func (sh *shard[T]) replace(i int, hash uint64, id string) {
	p := slotLocation(sh.index.slots[i])
	sh.release(p)
	sh.hot.clear(hash, id)
	h := head(sh.arena.head(p).Load()) &^ headRefreshing
	if had, want := blockSize(len(sh.arena.payload(p))), blockSize(len(sh.buffer)); want > had || want < had/2 {
		sh.arena.free(p)
		p = sh.arena.alloc(len(sh.buffer))
		sh.index.slots[i] = slotOf(tagOf(hash), p)
		h = h&(1<<headUnitsShift-1) | head(sh.arena.head(p).Load())
	}
	sh.arena.head(p).Store(uint32(h))
	copy(sh.arena.payload(p), sh.buffer)
}

// release returns what the record at p has in common with others.
func (sh *shard[T]) release(p location) { sh.discard(sh.arena.payload(p)) }

// discard returns what written bytes have in common with others.
func (sh *shard[T]) discard(written []byte) {
	var s freshness.Stamp
	f := decoder{textOf(written)}
	f.text(int(f.uvarint()))
	if f.stamp(&s); s.Found {
		sh.codec.release(f.rest)
	}
}

// remove drops the record in slot i.
func (sh *shard[T]) remove(i int, hash uint64) {
	p := slotLocation(sh.index.slots[i])
	sh.release(p)
	sh.hot.clear(hash, recordID(sh.arena.payload(p)))
	if head(sh.arena.head(p).Load())&headProbation != 0 {
		sh.admission.probation--
	}
	sh.arena.free(p)
	sh.index.remove(i)
}

// compact makes one step towards little waste, so that no caller waits long.
func (sh *shard[T]) compact() {
	if !sh.arena.needsCompaction() {
		return
	}
	sh.arena.compact(func(from, to location) {
		tag := tagOf(maphash.String(sh.seed, recordID(sh.arena.payload(to))))
		sh.index.slots[sh.index.find(tag, func(p location) bool { return p == from })] = slotOf(tag, to)
	})
}

// Drop removes id and reports whether it was there.
func (t *Table[T]) Drop(id string) bool {
	sh, hash := t.of(id)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	i := sh.find(hash, id)
	if i < 0 {
		return false
	}
	sh.remove(i, hash)
	sh.compact()
	return true
}

// DropWhere removes what match, which must not keep the value, is true for, and returns
// how many that were.
func (t *Table[T]) DropWhere(match func(*Value[T]) bool) (dropped int) {
	v := new(Value[T])
	for i := range t.shards {
		dropped += t.shards[i].dropWhere(match, v)
	}
	return dropped
}

// holds reports whether there is a record that matches. It reads each into v.
func (sh *shard[T]) holds(match func(*Value[T]) bool, v *Value[T]) bool {
	sh.mu.RLock()
	defer sh.mu.RUnlock()
	for _, slot := range sh.index.slots {
		if slot == 0 {
			continue
		}
		if sh.read(slotLocation(slot), v); match(v) {
			return true
		}
	}
	return false
}

// dropWhere reads each record into v. It takes some milliseconds, in which other callers
// go on reading unless there is something to drop.
func (sh *shard[T]) dropWhere(match func(*Value[T]) bool, v *Value[T]) (dropped int) {
	if !sh.holds(match, v) {
		return 0
	}
	sh.mu.Lock()
	defer sh.mu.Unlock()
	for i := 0; i < len(sh.index.slots); {
		slot := sh.index.slots[i]
		if slot == 0 {
			i++
			continue
		}
		if sh.read(slotLocation(slot), v); !match(v) {
			i++
			continue
		}
		sh.remove(i, maphash.String(sh.seed, v.id)) // another one may be there now
		dropped++
	}
	for range sh.arena.segments {
		sh.compact()
	}
	return dropped
}

// Claim reports whether v is still what is held under id, and no caller has claimed it
// before.
func (t *Table[T]) Claim(id string, v *Value[T]) bool {
	sh, hash := t.of(id)
	sh.mu.RLock()
	defer sh.mu.RUnlock()
	i := sh.find(hash, id)
	if i < 0 {
		return false
	}
	p := slotLocation(sh.index.slots[i])
	var s freshness.Stamp
	f := decoder{textOf(sh.arena.payload(p))}
	f.text(int(f.uvarint()))
	f.stamp(&s)
	if s.AsOf != v.AsOf || s.Seq != v.Seq {
		return false
	}
	before := sh.arena.head(p).Or(uint32(headRefreshing))
	return head(before)&headRefreshing == 0
}

// Len returns the number of values.
func (t *Table[T]) Len() (n int) {
	for i := range t.shards {
		t.shards[i].mu.RLock()
		n += t.shards[i].index.count
		t.shards[i].mu.RUnlock()
	}
	return n
}

// Bytes returns the memory that the table takes up without a pointer in it.
func (t *Table[T]) Bytes() (n int) {
	for i := range t.shards {
		sh := &t.shards[i]
		sh.mu.RLock()
		n += sh.arena.held + 8*cap(sh.index.slots) + 4*cap(sh.admission.queue) + 2*cap(sh.admission.notes)
		sh.mu.RUnlock()
	}
	return n
}
