package l1

import "hash/maphash"

// admission decides what a full shard drops, in the manner of S3-FIFO (Yang and others,
// SOSP 2023). New records are on probation in a queue of a tenth of the shard: those that
// are not used before they reach its end are dropped, and only a note of their hash
// remains; those that are used, or come back while there is a note, are established.
// Established ones go by the clock algorithm, by how often they were used since the hand
// last passed. So a scan of keys that are each used once passes through the tenth and
// leaves the rest as it is. Not safe for concurrent use.
type admission struct {
	limit          int      // records in the shard
	bytes          int      // of them
	probationLimit int      // records on probation
	probation      int      // records on probation
	queue          []uint32 // a circular buffer of their tags, oldest first, and of some that were dropped
	first          int
	waiting        int      // in the queue
	hand           int      // of the clock, on the index's slots
	notes          []uint16 // of records that were dropped at the end of their probation, by hash; 0: none
}

const (
	probationShare = 10
	// sweepRounds are enough for the hand to count down all uses and to pass what is hot
	// once.
	sweepRounds = int(headUses) + 2
	noteBits    = shardShift - tagBits
)

func newAdmission(limit, bytes int) admission {
	return admission{limit: limit, bytes: bytes, probationLimit: max(limit/probationShare, 1)}
}

// onProbation reports whether a new record is on probation: not while there is plenty of
// space, nor if it was here a while ago.
func (a *admission) onProbation(count, bytes int, hash uint64) bool {
	return (count >= a.limit-a.probationLimit || bytes >= a.bytes-a.bytes/probationShare) && !a.noted(hash)
}

// full reports whether one more record of this size is too much.
func (a *admission) full(count, bytes, size int) bool {
	return count >= a.limit || count > 0 && bytes+size > a.bytes
}

// noteOf finds the note by bits of the hash that do not choose the shard.
func (a *admission) noteOf(hash uint64) (*uint16, uint16) {
	return &a.notes[(hash>>tagBits&(1<<noteBits-1))*uint64(len(a.notes))>>noteBits], uint16(hash) | 1
}

func (a *admission) note(hash uint64) {
	if a.notes == nil {
		a.notes = make([]uint16, a.limit)
	}
	at, note := a.noteOf(hash)
	*at = note
}

// noted reports whether there is a note, and removes it.
func (a *admission) noted(hash uint64) bool {
	if a.notes == nil {
		return false
	}
	at, note := a.noteOf(hash)
	if *at != note {
		return false
	}
	*at = 0
	return true
}

func (a *admission) queueFull() bool { return a.waiting == a.probationLimit }

func (a *admission) push(tag uint64) {
	if a.queue == nil {
		a.queue = make([]uint32, a.probationLimit)
	}
	a.queue[(a.first+a.waiting)%a.probationLimit] = uint32(tag)
	a.waiting++
}

func (a *admission) pop() (tag uint64) {
	tag = uint64(a.queue[a.first])
	a.first = (a.first + 1) % a.probationLimit
	a.waiting--
	return tag
}

// startProbation puts a new record on probation.
func (sh *shard[T]) startProbation(tag uint64, p location) {
	if sh.admission.queueFull() { // with some that were dropped
		sh.endProbation()
	}
	sh.admission.push(tag)
	sh.admission.probation++
	sh.arena.head(p).Or(uint32(headProbation))
}

// makeSpace drops records until there is space for one more of this size.
func (sh *shard[T]) makeSpace(size int) {
	for a := &sh.admission; a.full(sh.index.count, sh.arena.live, size); {
		if least := max(min(a.probationLimit, sh.index.count/probationShare), 1); a.probation >= least || a.probation == sh.index.count {
			sh.endProbation()
		} else {
			sh.sweep()
		}
	}
}

// endProbation ends the oldest probation: a record that was not used is dropped.
func (sh *shard[T]) endProbation() {
	a := &sh.admission
	tag := a.pop()
	i := sh.index.find(tag, func(p location) bool { return head(sh.arena.head(p).Load())&headProbation != 0 })
	if i < 0 {
		return // it was dropped
	}
	p := slotLocation(sh.index.slots[i])
	hash, used := sh.usage(p)
	if !used {
		a.note(hash)
		sh.remove(i, hash)
		return
	}
	sh.arena.head(p).And(^uint32(headProbation | headUses))
	a.probation--
}

// usage reports whether the record at p was used lately.
func (sh *shard[T]) usage(p location) (hash uint64, used bool) {
	id := recordID(sh.arena.payload(p))
	hash = maphash.String(sh.seed, id)
	return hash, sh.hot.recentlyUsed(hash, id) || head(sh.arena.head(p).Load())&headUses != 0
}

// sweep removes the first established record that was not used as often as the hand
// passed. Other callers may use what is hot meanwhile, so it ends after some rounds
// whatever they do.
func (sh *shard[T]) sweep() {
	a := &sh.admission
	for most := sweepRounds * len(sh.index.slots); ; a.hand++ {
		most--
		if a.hand >= len(sh.index.slots) {
			a.hand = 0
		}
		slot := sh.index.slots[a.hand]
		if slot == 0 {
			continue
		}
		word := sh.arena.head(slotLocation(slot))
		switch h := head(word.Load()); {
		case h&headProbation != 0:
		case h&headUses != 0:
			word.Store(uint32(h - 1))
		default:
			if hash, used := sh.usage(slotLocation(slot)); !used || most < 0 {
				sh.remove(a.hand, hash)
				return
			}
		}
	}
}
