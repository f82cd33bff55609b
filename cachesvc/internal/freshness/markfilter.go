package freshness

import (
	"hash/maphash"
	"sync/atomic"
)

// markFilter recognises topics of which a [Window] has no mark, without the window's
// lock. Nearly all topics are such. So look-ups neither contend for one lock nor wait
// while a long list of changes is learned. Each topic belongs to one bit of the filter.
// The bit is set before a change of the topic counts as learned, and stays set at least
// as long as there is a mark.
type markFilter struct {
	generation uint64
	all        allTopics
	bits       [markedBits / 64]atomic.Uint64
}

// markedBits is the size of the filter in bits, which take 8 KiB. With a thousand marks,
// one look-up in sixty takes the lock needlessly.
const markedBits = 1 << 16

func (f *markFilter) bit(hash uint64) (word *atomic.Uint64, mask uint64) {
	at := hash % markedBits
	return &f.bits[at/64], 1 << (at % 64)
}

func (w *Window) hash(t Topic) uint64 { return maphash.String(w.seed, t.ID) + uint64(t.Subject) }

// mayContain reports whether the window may have a mark of the topic, so that the lock is
// needed.
func (f *markFilter) mayContain(hash uint64) bool {
	word, mask := f.bit(hash)
	return word.Load()&mask != 0
}

func (f *markFilter) add(hash uint64) {
	word, mask := f.bit(hash)
	word.Or(mask)
}

// publishFilter replaces the filter. It is called when a field other than the bits
// changes, and when most bits belong to marks that no longer exist. The caller holds the
// lock.
func (w *Window) publishFilter() {
	f := &markFilter{generation: w.generation, all: w.all}
	for t := range w.marks {
		f.add(w.hash(t))
	}
	w.bitsSet = len(w.marks)
	w.filter.Store(f)
}
