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
	minBytesPerShard = 2 << 20 // bytes worth a shard
	shardMargin      = 64      // keeps the locks of two shards off one cache line
	shardShift       = 58      // the bits of a hash from here on choose the shard

	hotShare   = 8    // at most one value in so many is hot
	hotLargest = 1024 // bytes of the largest record that may be hot; decoded it takes up to three times that

	// A record larger than this part of a shard's bytes, or than largestRecord, is not
	// kept.
	recordShare   = 4
	largestRecord = 1 << 20
)

// The largest number of hot values, in a table of what exists and in one of negative
// entries. A garbage collection visits each of them, for a microsecond.
const (
	HotValues         = 1024
	HotNegativeValues = 512
)

// Codec writes the data of a value into the bytes that a table keeps.
type Codec[T any] interface {
	// append writes the data of v, which is stored under id. It may take interned values,
	// which these bytes then hold.
	append(to []byte, id string, v *Value[T]) []byte
	// read sets v.Data, which is empty. v's id, stamp and empty scratch buffer are set
	// already.
	read(from string, v *Value[T])
	// release releases the interned values that append took for these bytes.
	release(from string)
}

// Table is L1: values as bytes, without a pointer to any of them, so that neither memory
// nor collections suffer from a million. Each of its shards has a read-write lock, an
// [index] into an [arena], an [admission] and a [hot].
//
// Invariants, under a shard's lock:
//  1. Each block of the arena that was not freed is the record of one id. One slot of
//     the index holds the block's location, under the tag of the id's hash.
//  2. There are at most admission.limit records, in blocks of at most
//     admission.bytes; the arena holds no more than its share of the table's bytes.
//  3. A value that hot holds under an id was read from the present record of that id.
//  4. Interned values that a codec took for a record are released once, when the
//     record's bytes are freed.
//  5. admission.probation records are marked as on probation, and the tag of each
//     is in the queue.
//
// A returned value does not depend on the table, and does not change. If it was read into
// the caller's value, it holds nothing that was there before. A table keeps neither an id
// nor a value that it is given. Safe for concurrent use.
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
	buffer    []byte // the record that is being written
	hot       hot[T]
	turn      atomic.Uint32 // counts uses of records that are hot candidates but whose set is full
	_         [shardMargin]byte
}

// NewTable returns a table for limit values in this many bytes, of which up to hotLimit
// are also kept decoded.
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

// Get returns the value of id, or nil if there is none. A hot value is shared with other
// callers. Any other value is read into into, or into a new value if into is nil. The
// caller must no longer use what into held before. Get allocates nothing for a hot value,
// or if into held a value of this size before. The exception is one use in offerEvery of
// a value that could be hot.
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

// read sets v to the record at p, and resets the state that belongs to v's former record.
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

// recordID returns the id that a record begins with. It is valid as long as the bytes
// are.
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
	for range 1 + size/largeBlock { // the records that a large one displaced are spread over many segments
		sh.compact()
	}
}

// largest is the size of the largest block that is kept.
func (sh *shard[T]) largest() int { return min(sh.admission.bytes/recordShare, largestRecord) }

// fitsInPlace reports whether a record of this size may replace the one in slot i without
// displacing another record.
func (sh *shard[T]) fitsInPlace(i, size int) bool {
	had := blockSize(len(sh.arena.payload(slotLocation(sh.index.slots[i]))))
	return size <= had || size <= sh.largest() && sh.arena.live-had+size <= sh.admission.bytes
}

// write encodes the record into the buffer.
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

// replace replaces the record in slot i by the one in the buffer. It uses the same block,
// unless that is too small or more than twice as large as needed.
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

// release releases the interned values of the record at p.
func (sh *shard[T]) release(p location) { sh.discard(sh.arena.payload(p)) }

// discard releases the interned values of an encoded record.
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

// compact makes one step of compaction if one is due, so that no caller waits long.
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

// DropWhere removes the values for which match returns true, and returns their number.
// match must not keep the value.
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

// dropWhere reads each record into v. It takes some milliseconds. Meanwhile other callers
// go on reading, unless there is something to drop.
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
		sh.remove(i, maphash.String(sh.seed, v.id)) // another record may be in this slot now
		dropped++
	}
	for range sh.arena.segments {
		sh.compact()
	}
	return dropped
}

// Claim reports whether v is still the value of id, and no caller has claimed it before.
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

// Bytes returns the memory of the table that holds no pointers.
func (t *Table[T]) Bytes() (n int) {
	for i := range t.shards {
		sh := &t.shards[i]
		sh.mu.RLock()
		n += sh.arena.held + 8*cap(sh.index.slots) + 4*cap(sh.admission.queue) + 2*cap(sh.admission.notes)
		sh.mu.RUnlock()
	}
	return n
}
