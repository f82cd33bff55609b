package cachesvc

import (
	"net/netip"
	"unsafe"

	"extauthz/authz"
)

// room is where a value that was read from bytes keeps what it points at, so
// that this costs no allocation each. A value of the caller's own is read into
// again and again: its room then is as large as what was read before needed.
type room struct {
	used  uint8
	bytes [roomSize]byte
	more  *moreRoom // of those that need it; nil: none yet
}

const (
	// roomSize is enough for a key with two ids, a digest, its prefix and a name
	// of 30 bytes.
	roomSize = 152
	// roomKept bounds what one large key leaves behind, in elements of each kind.
	roomKept = 16 << 10
)

type moreRoom struct {
	bytes    []byte
	texts    []string
	scopes   []authz.Scope
	networks []netip.Prefix
	metadata map[string]string
}

// empty makes all of it free. Nobody may hold what was kept there.
func (r *room) empty() {
	r.used = 0
	m := r.more
	if m == nil {
		return
	}
	m.bytes, m.texts, m.scopes, m.networks = emptied(m.bytes), emptied(m.texts), emptied(m.scopes), emptied(m.networks)
	clear(m.metadata)
}

func emptied[E any](pool []E) []E {
	if cap(pool) > roomKept {
		return nil
	}
	return pool[:0]
}

// taken returns n elements of a pool, which begins anew where it is used up:
// what was taken before stays as it is.
func taken[E any](pool *[]E, n int) []E {
	if n > cap(*pool)-len(*pool) {
		*pool = make([]E, 0, max(n, 2*cap(*pool)))
	}
	at := len(*pool)
	*pool = (*pool)[:at+n]
	return (*pool)[at : at+n : at+n]
}

func (r *room) moreOf() *moreRoom {
	if r.more == nil {
		r.more = &moreRoom{}
	}
	return r.more
}

func (r *room) take(n int) []byte {
	if n > len(r.bytes)-int(r.used) {
		return taken(&r.moreOf().bytes, n)
	}
	b := r.bytes[r.used : int(r.used)+n : int(r.used)+n]
	r.used += uint8(n)
	return b
}

// keep copies a text.
func (r *room) keep(s string) string {
	if s == "" {
		return ""
	}
	b := r.take(len(s))
	copy(b, s)
	return textOf(b)
}

func (r *room) texts(n int) []string          { return taken(&r.moreOf().texts, n) }
func (r *room) scopes(n int) authz.Scopes     { return taken(&r.moreOf().scopes, n) }
func (r *room) networks(n int) []netip.Prefix { return taken(&r.moreOf().networks, n) }

// metadata is an empty map, for one key.
func (r *room) metadata(n int) map[string]string {
	m := r.moreOf()
	if m.metadata == nil {
		m.metadata = make(map[string]string, n)
	}
	return m.metadata
}

// textOf looks at bytes as a text, for as long as nobody changes them.
func textOf(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
