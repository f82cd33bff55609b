package freshness

import (
	"hash/maphash"
	"sync/atomic"
)

// markFilter answers for topics of which [recent] has no mark, which are nearly
// all, without its lock: so look-ups neither meet in one place nor wait while a
// long list of changes is learned. Each topic has one of its bits, which is set
// before a change of the topic counts as learned, and stays set at least as long
// as there is a mark.
type markFilter struct {
	generation uint64
	all        allTopics
	bits       [markedBits / 64]atomic.Uint64
}

// markedBits is so large that a thousand marks send one look-up in sixty to the
// lock that needs not go there, and takes 8 KiB.
const markedBits = 1 << 16

func (u *markFilter) bit(hash uint64) (word *atomic.Uint64, mask uint64) {
	at := hash % markedBits
	return &u.bits[at/64], 1 << (at % 64)
}

func (r *Window) hash(t Topic) uint64 { return maphash.String(r.seed, t.ID) + uint64(t.Subject) }

// mayContain tells whether the lock has to be asked for this topic.
func (u *markFilter) mayContain(hash uint64) bool {
	word, mask := u.bit(hash)
	return word.Load()&mask != 0
}

func (u *markFilter) add(hash uint64) {
	word, mask := u.bit(hash)
	word.Or(mask)
}

// publishFilter makes what is asked without the lock anew: after a change of what it
// holds beside the bits, and when most bits are those of marks that are gone.
// The lock is held.
func (r *Window) publishFilter() {
	u := &markFilter{generation: r.generation, all: r.all}
	for t := range r.marks {
		u.add(r.hash(t))
	}
	r.bitsSet = len(r.marks)
	r.filter.Store(u)
}
