package l1

import (
	"net/netip"
	"unsafe"

	"extauthz/authz"
)

// scratch is the buffer for everything that a value points to once it is read from bytes,
// so that the single parts cost no allocation. A caller may read into the same value
// again and again: the buffer then has the size that earlier reads needed.
type scratch struct {
	used     uint8
	bytes    [scratchSize]byte
	overflow *overflow // holds what does not fit into bytes; nil until it is needed
}

const (
	// scratchSize is enough for a key with two ids, a digest, its prefix and a name
	// of 30 bytes.
	scratchSize = 152
	// scratchKept bounds what stays allocated after a large key, in elements of each kind.
	scratchKept = 16 << 10
)

type overflow struct {
	bytes    []byte
	texts    []string
	scopes   []authz.Scope
	networks []netip.Prefix
	metadata map[string]string
}

// reset frees the whole buffer. Texts in it must no longer be in use.
func (r *scratch) reset() {
	r.used = 0
	m := r.overflow
	if m == nil {
		return
	}
	m.bytes, m.texts, m.scopes, m.networks = emptyPool(m.bytes), emptyPool(m.texts), emptyPool(m.scopes), emptyPool(m.networks)
	clear(m.metadata)
}

func emptyPool[E any](pool []E) []E {
	if cap(pool) > scratchKept {
		return nil
	}
	return pool[:0]
}

// takeFrom returns n elements of a pool. If too few are left, it replaces the pool by a
// larger one; elements that were taken before stay as they are.
func takeFrom[E any](pool *[]E, n int) []E {
	if n > cap(*pool)-len(*pool) {
		*pool = make([]E, 0, max(n, 2*cap(*pool)))
	}
	at := len(*pool)
	*pool = (*pool)[:at+n]
	return (*pool)[at : at+n : at+n]
}

func (r *scratch) overflowBuffers() *overflow {
	if r.overflow == nil {
		r.overflow = &overflow{}
	}
	return r.overflow
}

func (r *scratch) bytesOf(n int) []byte {
	if n > len(r.bytes)-int(r.used) {
		return takeFrom(&r.overflowBuffers().bytes, n)
	}
	b := r.bytes[r.used : int(r.used)+n : int(r.used)+n]
	r.used += uint8(n)
	return b
}

// copyString copies a text into the buffer.
func (r *scratch) copyString(s string) string {
	if s == "" {
		return ""
	}
	b := r.bytesOf(len(s))
	copy(b, s)
	return textOf(b)
}

func (r *scratch) texts(n int) []string          { return takeFrom(&r.overflowBuffers().texts, n) }
func (r *scratch) scopes(n int) authz.Scopes     { return takeFrom(&r.overflowBuffers().scopes, n) }
func (r *scratch) networks(n int) []netip.Prefix { return takeFrom(&r.overflowBuffers().networks, n) }

// metadata returns an empty map, for one key.
func (r *scratch) metadata(n int) map[string]string {
	m := r.overflowBuffers()
	if m.metadata == nil {
		m.metadata = make(map[string]string, n)
	}
	return m.metadata
}

// textOf returns the bytes as a string without copying. They must not change while the
// string is in use.
func textOf(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
