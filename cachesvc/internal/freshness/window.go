package freshness

import (
	"hash/maphash"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"extauthz/authz"
)

// maxTopics bounds the window of recent changes by number, to some 25 MiB. Past it
// the oldest are forgotten, together with everything that was read before them.
const maxTopics = 100_000

// Subject is what a change or a cached value is about.
type Subject uint8

const (
	SubjectKey  Subject = iota + 1 // by prefix
	SubjectRole                    // by name
	subjectUser                    // by id: the list of a user's keys
)

// Topic names one thing that can change.
type Topic struct {
	Subject Subject
	ID      string
}

// Stamp says of which state of the database a cached value tells.
type Stamp struct {
	Found      bool
	Version    uint64 // of the row; 0 if there is none
	Seq        uint64 // what recent had learned before the read began
	Generation uint64 // see recent.reset

	// Shared: read from the shared store, and so by somebody else, from the
	// database as it was at asOf.
	Shared bool
	AsOf   time.Duration // when the read of the database began, monotonic

	// OutsideLease: read while the lease did not hold, and so of a state that the
	// feed may never come to know: a database that is restored meanwhile need not
	// lie behind the cursor. Good as long as the database is away, and no longer.
	OutsideLease bool

	Expires     time.Duration // may be believed under the lease before this
	UsableUntil time.Duration // is never believed from this on

	// Checked is the last recent.seq at which the value was found fresh: as
	// long as nothing is learned, asking again costs one atomic load.
	Checked atomic.Uint64
}

// AsOfSlack is how exactly the moment of somebody else's read is known: by the
// database's clock, which both measured by a round trip shorter than the lease.
const AsOfSlack = time.Second

// mark is what is known of the last change of a topic.
type mark struct {
	version  uint64
	learned  uint64 // recent.seq with which the version was learned
	reread   uint64 // what was read before this recent.seq is stale whatever its version
	received uint64 // the highest version that the feed told of

	// position is where in the feed the last change stands that the feed told of:
	// for topics of users, whose lists have no version.
	position uint64
	// notReceived: a change was made here of which the feed has not told yet, so its
	// version, or place, is not known.
	notReceived bool
	// What others read before this moment is stale whatever its version: of a change
	// made here.
	ownUntil time.Duration
}

// allTopics is what is known about all topics at once.
type allTopics struct {
	version uint64 // of the last change that may be about anything
	reread  uint64 // what was read before this recent.seq is stale whatever its version
	// What others read before these moments is stale: of what is forgotten or about
	// anything, and of the start, until the window before it is learned.
	at, pastUntil time.Duration
}

func (e *allTopics) sharedFrom() time.Duration { return max(e.at, e.pastUntil) }

// Window is the window of recent changes, kept longer than any cached value can
// live. It alone says whether a value is stale. Safe for concurrent use.
type Window struct {
	seq atomic.Uint64 // grows with everything that is learned

	Retention time.Duration
	limit     int

	seed    maphash.Seed
	filter  atomic.Pointer[markFilter] // asked first; written to under mu
	bitsSet int                        // there, at most; under mu

	mu         sync.RWMutex
	generation uint64
	all        allTopics
	marks      map[Topic]mark
	order      []entry // oldest first
}

type entry struct {
	topic Topic
	seq   uint64
	at    time.Duration
}

func NewWindow(keep time.Duration) *Window {
	r := &Window{Retention: keep, limit: maxTopics, marks: make(map[Topic]mark), seed: maphash.MakeSeed()}
	r.publishFilter()
	r.seq.Store(1) // so that no stamp is born checked
	return r
}

// Begin returns the stamp of a read that begins now.
func (r *Window) Begin() (seq, generation uint64) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.seq.Load(), r.generation
}

// Fresh tells whether nothing newer than the value is known. A value that
// exists is judged by its version: a newer one stays newer, even if a database
// that lags brings the old one again. An absence has no version, so it is stale
// if anything was learned after its read began.
func (r *Window) Fresh(t Topic, s *Stamp) bool {
	seq := r.seq.Load() // before the question, so that the answer holds for it
	if s.Checked.Load() == seq {
		return true
	}
	if r.stale(t, s) {
		return false
	}
	s.Checked.Store(seq)
	return true
}

func (r *Window) stale(t Topic, s *Stamp) bool {
	if u := r.filter.Load(); !u.mayContain(r.hash(t)) {
		return s.stale(u.generation, &u.all, mark{})
	}
	r.mu.RLock()
	defer r.mu.RUnlock()
	return s.stale(r.generation, &r.all, r.marks[t])
}

// stale is asked of a topic's mark, and of that of all topics.
func (s *Stamp) stale(generation uint64, all *allTopics, m mark) bool {
	if s.Generation != generation {
		return true
	}
	if s.Shared {
		// Whoever read it had learned other things than were learned here.
		return s.Version < m.version || m.notReceived || s.AsOf < max(m.ownUntil, all.sharedFrom())
	}
	if s.Seq < all.reread || s.Seq < m.reread {
		return true
	}
	if s.Found {
		return s.Version < m.version
	}
	return s.Seq < m.learned
}

// Learn takes in changes and returns those that are new. own says that they
// were made here: then whatever was read before is stale without looking at
// versions, which a restored database may have begun anew.
func (r *Window) Learn(changes []authz.Change, own bool, now time.Duration) (fresh []authz.Change) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.trim(now)
	seq := r.seq.Load() + 1
	for _, c := range changes {
		if !r.record(c, own, seq, now) {
			continue
		}
		fresh = append(fresh, c)
	}
	if len(fresh) == 0 {
		return nil
	}
	if len(r.order) > r.limit {
		r.dropOldest(len(r.order) - r.limit*3/4)
	}
	r.seq.Store(seq)
	return fresh
}

// LearnAll takes in that anything may have changed: as if everything had been learned
// and forgotten. Whatever was read before is stale.
func (r *Window) LearnAll(now time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	seq := r.seq.Load() + 1
	clear(r.marks)
	r.order = nil
	r.all.reread, r.all.at = seq, now+AsOfSlack
	r.publishFilter()
	r.seq.Store(seq)
}

// dropOldest drops the n oldest of what was learned. Whoever read before they were learned
// may have read what was there before them, and is not trusted any more; later reads
// have seen them.
func (r *Window) dropOldest(n int) {
	last := r.order[n-1]
	for _, o := range r.order[:n] {
		if m := r.marks[o.topic]; max(m.learned, m.reread) <= last.seq {
			delete(r.marks, o.topic)
		}
	}
	r.order = slices.Clone(r.order[n:])
	r.all.reread, r.all.at = max(r.all.reread, last.seq), max(r.all.at, last.at+AsOfSlack)
	r.publishFilter()
}

// DistrustPast makes what others read before now stale, since what changed before now was
// not learned, until trustPast: then it was.
func (r *Window) DistrustPast(now time.Duration) { r.setUnlearned(now + AsOfSlack) }
func (r *Window) TrustPast()                     { r.setUnlearned(0) }

func (r *Window) setUnlearned(until time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all.pastUntil = until
	r.publishFilter()
	r.seq.Add(1)
}

func (r *Window) record(c authz.Change, own bool, seq uint64, now time.Duration) bool {
	t := Topic{Subject: SubjectKey, ID: c.Prefix}
	switch {
	case c.Kind == authz.ChangeKey && c.Prefix != "":
	case c.Kind == authz.ChangeRole && c.Role != "":
		t = Topic{Subject: SubjectRole, ID: c.Role}
	default: // a kind that is not known here may be about anything
		if c.Version <= r.all.version && !own {
			return false
		}
		r.all.version, r.all.reread, r.all.at = max(c.Version, r.all.version), seq, now+AsOfSlack
		r.publishFilter()
		return true
	}
	m := r.marks[t]
	fresh := c.Version > m.version || own
	if c.Version > m.version {
		m.version, m.learned = c.Version, seq
	}
	told := !own && c.Version > m.received // by the feed, for the first time
	if told {
		m.received, m.notReceived = c.Version, false
	}
	if own {
		m.reread, m.ownUntil = seq, now+AsOfSlack
		// A version that is known tells enough of a key or a role.
		m.notReceived = c.Version == 0 || m.notReceived
	}
	if !fresh && !told {
		return false
	}
	r.put(t, m, seq, now)
	if c.UserID != "" {
		r.recordUser(c, own, c.Version <= m.received, told, seq, now)
	}
	return fresh
}

// recordUser is about the list of a user's keys.
func (r *Window) recordUser(c authz.Change, own, fedAlready, told bool, seq uint64, now time.Duration) {
	t := Topic{Subject: subjectUser, ID: c.UserID}
	m := r.marks[t]
	m.reread = seq
	if own {
		m.ownUntil = now + AsOfSlack
		m.notReceived = m.notReceived || c.Version == 0 || !fedAlready
	}
	if told {
		m.position, m.notReceived = max(m.position, c.Place), false
	}
	r.put(t, m, seq, now)
}

// ListStale tells whether a list of a user's keys that was read when the feed
// stood at place may lack a change.
func (r *Window) ListStale(user string, place uint64, asOf time.Duration) bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	m, ok := r.marks[Topic{Subject: subjectUser, ID: user}]
	return ok && (m.notReceived || m.position >= place || asOf < m.ownUntil) || asOf < r.all.sharedFrom()
}

func (r *Window) put(t Topic, m mark, seq uint64, now time.Duration) {
	r.filter.Load().add(r.hash(t))
	r.bitsSet++
	r.marks[t] = m
	r.order = append(r.order, entry{t, seq, now})
}

// Reset forgets what the feed told, and makes stale whatever was read until now:
// the versions of another epoch can't be compared, and after a gap in the feed
// nothing is known of what changed. What was changed here stays known by its
// moment, which means the same in every epoch.
func (r *Window) Reset() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.generation++
	r.all = allTopics{}
	for t, m := range r.marks {
		if m.ownUntil == 0 {
			delete(r.marks, t)
		} else {
			r.marks[t] = mark{reread: m.reread, ownUntil: m.ownUntil}
		}
	}
	r.order = slices.DeleteFunc(r.order, func(o entry) bool { _, kept := r.marks[o.topic]; return !kept })
	r.publishFilter()
	r.seq.Add(1)
}

// SameGeneration tells whether the generation has not ended.
func (r *Window) SameGeneration(generation uint64) bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return generation == r.generation
}

// trim drops what was learned longer ago than the window.
func (r *Window) trim(now time.Duration) {
	i := 0
	for ; i < len(r.order) && r.order[i].at+r.Retention < now; i++ {
		o := r.order[i]
		if m := r.marks[o.topic]; max(m.learned, m.reread) <= o.seq {
			delete(r.marks, o.topic)
		}
	}
	r.order = r.order[i:]
	if i > 0 && r.bitsSet > 2*len(r.marks)+markedBits/64 {
		r.publishFilter()
	}
}

// Size is the number of topics in the window.
func (r *Window) Size() int {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return len(r.marks)
}
