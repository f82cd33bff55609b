package l1

import "hash/maphash"

// admission decides which records a full shard drops, in the manner of S3-FIFO (Yang and
// others, SOSP 2023). New records are on probation in a queue of a tenth of the shard. A
// record that is not used before it reaches the end of the queue is dropped, and only a
// note of its hash remains. A record that is used, or that comes back while there is a
// note of it, is established. Established records are dropped by the clock algorithm, by
// how often each was used since the hand last passed it. So a scan of keys that are each
// used once passes through the tenth and leaves the other records as they are. Not safe
// for concurrent use.
type admission struct {
	limit          int      // records in the shard, at most
	bytes          int      // bytes of these records, at most
	probationLimit int      // records on probation, at most
	probation      int      // records on probation at present
	queue          []uint32 // a circular buffer of tags, oldest first: of the records on probation, and of some that were dropped
	first          int
	waiting        int      // number of tags in the queue
	hand           int      // the clock's hand: an index into the index's slots
	notes          []uint16 // notes of records that were dropped at the end of their probation, by hash; 0: none
}

const (
	probationShare = 10
	// sweepRounds is how many rounds the hand needs to count down all uses and to pass
	// each hot record once.
	sweepRounds = int(headUses) + 2
	noteBits    = shardShift - tagBits
)

func newAdmission(limit, bytes int) admission {
	return admission{limit: limit, bytes: bytes, probationLimit: max(limit/probationShare, 1)}
}

// onProbation reports whether a new record begins on probation. It does not while there
// is plenty of space, or if a note shows that the record was here a while ago.
func (a *admission) onProbation(count, bytes int, hash uint64) bool {
	return (count >= a.limit-a.probationLimit || bytes >= a.bytes-a.bytes/probationShare) && !a.noted(hash)
}

// full reports whether the shard has no space for one more record of this size.
func (a *admission) full(count, bytes, size int) bool {
	return count >= a.limit || count > 0 && bytes+size > a.bytes
}

// noteOf returns the element of notes that belongs to a hash, and the note itself. Bits
// of the hash that do not choose the shard choose the element.
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

// noted reports whether there is a note of the hash, and removes it.
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
	if sh.admission.queueFull() { // tags of dropped records count too
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

// endProbation ends the probation of the oldest record. If the record was not used, it is
// dropped.
func (sh *shard[T]) endProbation() {
	a := &sh.admission
	tag := a.pop()
	i := sh.index.find(tag, func(p location) bool { return head(sh.arena.head(p).Load())&headProbation != 0 })
	if i < 0 {
		return // the record was dropped before
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

// usage returns the hash of the record at p, and reports whether the record was used
// lately.
func (sh *shard[T]) usage(p location) (hash uint64, used bool) {
	id := recordID(sh.arena.payload(p))
	hash = maphash.String(sh.seed, id)
	return hash, sh.hot.recentlyUsed(hash, id) || head(sh.arena.head(p).Load())&headUses != 0
}

// sweep moves the hand and counts down the uses of each record that it passes. It removes
// the first established record without any uses left. Other callers may use hot records
// meanwhile, so after some rounds it removes a hot one as well.
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
