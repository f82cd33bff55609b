package l1

import (
	"encoding/binary"
	"hash/maphash"
	"math"
	"slices"
	"sync"
	"sync/atomic"
)

const (
	maxInterned   = 4096    // values held, at most
	internedBytes = 4 << 20 // encoded size of these values, at most; decoded they take a few times that
	internedSeen  = 8192    // entries that remember, by hash, values that were seen once
)

// interned holds values that many records have in common, such as sets of scopes: each
// value once, and decoded. A value is added when it is seen a second time, if there is
// space. So a value that only one record has stays within that record. Safe for
// concurrent use.
type interned[V any] struct {
	// read decodes a value. The value's texts are copied into the scratch buffer, or, if
	// that is nil, are parts of written.
	read func(written string, into *scratch) V

	seed   maphash.Seed
	mu     sync.Mutex
	ids    map[string]uint32 // ids by the encoded value
	bytes  int               // length of the keys of ids
	free   []uint32
	seen   []uint32 // parts of the hashes of values that were seen once
	values []internedValue[V]
}

type internedValue[V any] struct {
	value   atomic.Pointer[V]
	encoded string
	records uint32 // number of records that hold the value; under interned.mu
}

func newInterned[V any](read func(written string, into *scratch) V) *interned[V] {
	return &interned[V]{read: read, seed: maphash.MakeSeed(), ids: make(map[string]uint32),
		seen: make([]uint32, internedSeen), values: make([]internedValue[V], maxInterned)}
}

// take returns the id of the value with this encoding, and counts one more record that
// holds it. ok is false if the record has to store the value itself.
func (c *interned[V]) take(written []byte) (id uint32, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if id, ok = c.ids[string(written)]; ok {
		if c.values[id].records == math.MaxUint32 {
			return 0, false
		}
		c.values[id].records++
		return id, true
	}
	hash := maphash.Bytes(c.seed, written)
	seen := &c.seen[hash%internedSeen]
	if mark := uint32(hash>>32) | 1; *seen != mark {
		*seen = mark
		return 0, false
	}
	if c.bytes+len(written) > internedBytes {
		return 0, false
	}
	if n := len(c.free); n > 0 {
		id = c.free[n-1]
		c.free = c.free[:n-1]
	} else if id = uint32(len(c.ids)); id == maxInterned {
		return 0, false
	}
	h := &c.values[id]
	h.encoded, h.records = string(written), 1
	v := c.read(h.encoded, nil)
	h.value.Store(&v)
	c.ids[h.encoded] = id
	c.bytes += len(written)
	return id, true
}

// get returns the value with this id, which some record must hold.
func (c *interned[V]) get(id uint32) *V { return c.values[id].value.Load() }

// release is called when a record that holds the value is dropped.
func (c *interned[V]) release(id uint32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	h := &c.values[id]
	if h.records--; h.records > 0 {
		return
	}
	delete(c.ids, h.encoded)
	c.bytes -= len(h.encoded)
	h.value.Store(nil)
	h.encoded = ""
	c.free = append(c.free, id)
}

// appendCommon writes the id of a value if it is interned, else the value's length and
// the value. held reports whether it is interned.
func appendCommon[V any](b []byte, c *interned[V], write func([]byte) []byte) (out []byte, held bool) {
	at := len(b)
	b = write(b)
	written := b[at:]
	if id, ok := c.take(written); ok {
		return binary.AppendUvarint(b[:at], uint64(id)), true
	}
	var length [binary.MaxVarintLen64]byte
	n := binary.PutUvarint(length[:], uint64(len(written)))
	return slices.Insert(b, at, length[:n]...), false
}

// readCommon reads what appendCommon wrote.
func readCommon[V any](f *decoder, c *interned[V], held bool, into *scratch) V {
	if held {
		return *c.get(uint32(f.uvarint()))
	}
	return c.read(f.plainText(), into)
}

func releaseCommon[V any](f *decoder, c *interned[V], held bool) {
	if held {
		c.release(uint32(f.uvarint()))
	} else {
		f.plainText()
	}
}
