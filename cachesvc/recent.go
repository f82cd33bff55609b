package cachesvc

import (
	"hash/maphash"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"extauthz/authz"
)

// maxRecent bounds the window of recent changes by number, to some 25 MiB. Past it
// the oldest are forgotten, together with everything that was read before them.
const maxRecent = 100_000

// subject is what a change or a cached value is about.
type subject uint8

const (
	subjectKey  subject = iota + 1 // by prefix
	subjectRole                    // by name
	subjectUser                    // by id: the list of a user's keys
)

// topic names one thing that can change.
type topic struct {
	subject subject
	id      string
}

// stamp says of which state of the database a cached value tells.
type stamp struct {
	found      bool
	version    uint64 // of the row; 0 if there is none
	seq        uint64 // what recent had learned before the read began
	generation uint64 // see recent.reset

	// shared: read from the shared store, and so by somebody else, from the
	// database as it was at asOf.
	shared bool
	asOf   time.Duration // when the read of the database began, monotonic

	// unvouched: read while the lease did not hold, and so of a state that the
	// feed may never come to know: a database that is restored meanwhile need not
	// lie behind the cursor. Good as long as the database is away, and no longer.
	unvouched bool

	expires time.Duration // may be believed under the lease before this
	until   time.Duration // is never believed from this on

	// checked is the last recent.seq at which the value was found fresh: as
	// long as nothing is learned, asking again costs one atomic load.
	checked atomic.Uint64
}

// asOfSlack is how exactly the moment of somebody else's read is known: by the
// database's clock, which both measured by a round trip shorter than the lease.
const asOfSlack = time.Second

// mark is what is known of the last change of a topic.
type mark struct {
	version uint64
	learned uint64 // recent.seq with which the version was learned
	reread  uint64 // what was read before this recent.seq is stale whatever its version
	fed     uint64 // the highest version that the feed told of

	// place is where in the feed the last change stands that the feed told of:
	// for topics of users, whose lists have no version.
	place uint64
	// unfed: a change was made here of which the feed has not told yet, so its
	// version, or place, is not known.
	unfed bool
	// What others read before this moment is stale whatever its version: of a change
	// made here.
	own time.Duration
}

// everything is what is known about all topics at once.
type everything struct {
	version uint64 // of the last change that may be about anything
	reread  uint64 // what was read before this recent.seq is stale whatever its version
	// What others read before these moments is stale: of what is forgotten or about
	// anything, and of the start, until the window before it is learned.
	at, unlearned time.Duration
}

func (e *everything) sharedFrom() time.Duration { return max(e.at, e.unlearned) }

// recent is the window of recent changes, kept longer than any cached value can
// live. It alone says whether a value is stale. Safe for concurrent use.
type recent struct {
	seq atomic.Uint64 // grows with everything that is learned

	keep  time.Duration
	limit int

	seed     maphash.Seed
	unmarked atomic.Pointer[unmarked] // asked first; written to under mu
	bitsSet  int                      // there, at most; under mu

	mu         sync.RWMutex
	generation uint64
	all        everything
	marks      map[topic]mark
	order      []learned // oldest first
}

type learned struct {
	topic topic
	seq   uint64
	at    time.Duration
}

func newRecent(keep time.Duration) *recent {
	r := &recent{keep: keep, limit: maxRecent, marks: make(map[topic]mark), seed: maphash.MakeSeed()}
	r.publish()
	r.seq.Store(1) // so that no stamp is born checked
	return r
}

// begin returns the stamp of a read that begins now.
func (r *recent) begin() (seq, generation uint64) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.seq.Load(), r.generation
}

// fresh tells whether nothing newer than the value is known. A value that
// exists is judged by its version: a newer one stays newer, even if a database
// that lags brings the old one again. An absence has no version, so it is stale
// if anything was learned after its read began.
func (r *recent) fresh(t topic, s *stamp) bool {
	seq := r.seq.Load() // before the question, so that the answer holds for it
	if s.checked.Load() == seq {
		return true
	}
	if r.stale(t, s) {
		return false
	}
	s.checked.Store(seq)
	return true
}

func (r *recent) stale(t topic, s *stamp) bool {
	if u := r.unmarked.Load(); !u.mayBeMarked(r.hash(t)) {
		return s.stale(u.generation, &u.all, mark{})
	}
	r.mu.RLock()
	defer r.mu.RUnlock()
	return s.stale(r.generation, &r.all, r.marks[t])
}

// stale is asked of a topic's mark, and of that of all topics.
func (s *stamp) stale(generation uint64, all *everything, m mark) bool {
	if s.generation != generation {
		return true
	}
	if s.shared {
		// Whoever read it had learned other things than were learned here.
		return s.version < m.version || m.unfed || s.asOf < max(m.own, all.sharedFrom())
	}
	if s.seq < all.reread || s.seq < m.reread {
		return true
	}
	if s.found {
		return s.version < m.version
	}
	return s.seq < m.learned
}

// learn takes in changes and returns those that are new. own says that they
// were made here: then whatever was read before is stale without looking at
// versions, which a restored database may have begun anew.
func (r *recent) learn(changes []authz.Change, own bool, now time.Duration) (fresh []authz.Change) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.trim(now)
	seq := r.seq.Load() + 1
	for _, c := range changes {
		if !r.note(c, own, seq, now) {
			continue
		}
		fresh = append(fresh, c)
	}
	if len(fresh) == 0 {
		return nil
	}
	if len(r.order) > r.limit {
		r.forget(len(r.order) - r.limit*3/4)
	}
	r.seq.Store(seq)
	return fresh
}

// learnAll takes in that anything may have changed: as if everything had been learned
// and forgotten. Whatever was read before is stale.
func (r *recent) learnAll(now time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	seq := r.seq.Load() + 1
	clear(r.marks)
	r.order = nil
	r.all.reread, r.all.at = seq, now+asOfSlack
	r.publish()
	r.seq.Store(seq)
}

// forget drops the n oldest of what was learned. Whoever read before they were learned
// may have read what was there before them, and is not trusted any more; later reads
// have seen them.
func (r *recent) forget(n int) {
	last := r.order[n-1]
	for _, o := range r.order[:n] {
		if m := r.marks[o.topic]; max(m.learned, m.reread) <= last.seq {
			delete(r.marks, o.topic)
		}
	}
	r.order = slices.Clone(r.order[n:])
	r.all.reread, r.all.at = max(r.all.reread, last.seq), max(r.all.at, last.at+asOfSlack)
	r.publish()
}

// distrust makes what others read before now stale, since what changed before now was
// not learned, until trustPast: then it was.
func (r *recent) distrust(now time.Duration) { r.setUnlearned(now + asOfSlack) }
func (r *recent) trustPast()                 { r.setUnlearned(0) }

func (r *recent) setUnlearned(until time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all.unlearned = until
	r.publish()
	r.seq.Add(1)
}

func (r *recent) note(c authz.Change, own bool, seq uint64, now time.Duration) bool {
	t := topic{subject: subjectKey, id: c.Prefix}
	switch {
	case c.Kind == authz.ChangeKey && c.Prefix != "":
	case c.Kind == authz.ChangeRole && c.Role != "":
		t = topic{subject: subjectRole, id: c.Role}
	default: // a kind that is not known here may be about anything
		if c.Version <= r.all.version && !own {
			return false
		}
		r.all.version, r.all.reread, r.all.at = max(c.Version, r.all.version), seq, now+asOfSlack
		r.publish()
		return true
	}
	m := r.marks[t]
	fresh := c.Version > m.version || own
	if c.Version > m.version {
		m.version, m.learned = c.Version, seq
	}
	told := !own && c.Version > m.fed // by the feed, for the first time
	if told {
		m.fed, m.unfed = c.Version, false
	}
	if own {
		m.reread, m.own = seq, now+asOfSlack
		// A version that is known tells enough of a key or a role.
		m.unfed = c.Version == 0 || m.unfed
	}
	if !fresh && !told {
		return false
	}
	r.put(t, m, seq, now)
	if c.UserID != "" {
		r.noteUser(c, own, c.Version <= m.fed, told, seq, now)
	}
	return fresh
}

// noteUser is about the list of a user's keys.
func (r *recent) noteUser(c authz.Change, own, fedAlready, told bool, seq uint64, now time.Duration) {
	t := topic{subject: subjectUser, id: c.UserID}
	m := r.marks[t]
	m.reread = seq
	if own {
		m.own = now + asOfSlack
		m.unfed = m.unfed || c.Version == 0 || !fedAlready
	}
	if told {
		m.place, m.unfed = max(m.place, c.Place), false
	}
	r.put(t, m, seq, now)
}

// listStale tells whether a list of a user's keys that was read when the feed
// stood at place may lack a change.
func (r *recent) listStale(user string, place uint64, asOf time.Duration) bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	m, ok := r.marks[topic{subject: subjectUser, id: user}]
	return ok && (m.unfed || m.place >= place || asOf < m.own) || asOf < r.all.sharedFrom()
}

func (r *recent) put(t topic, m mark, seq uint64, now time.Duration) {
	r.unmarked.Load().mark(r.hash(t))
	r.bitsSet++
	r.marks[t] = m
	r.order = append(r.order, learned{t, seq, now})
}

// reset forgets what the feed told, and makes stale whatever was read until now:
// the versions of another epoch can't be compared, and after a gap in the feed
// nothing is known of what changed. What was changed here stays known by its
// moment, which means the same in every epoch.
func (r *recent) reset() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.generation++
	r.all = everything{}
	for t, m := range r.marks {
		if m.own == 0 {
			delete(r.marks, t)
		} else {
			r.marks[t] = mark{reread: m.reread, own: m.own}
		}
	}
	r.order = slices.DeleteFunc(r.order, func(o learned) bool { _, kept := r.marks[o.topic]; return !kept })
	r.publish()
	r.seq.Add(1)
}

// same tells whether the generation has not ended.
func (r *recent) same(generation uint64) bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return generation == r.generation
}

// trim drops what was learned longer ago than the window.
func (r *recent) trim(now time.Duration) {
	i := 0
	for ; i < len(r.order) && r.order[i].at+r.keep < now; i++ {
		o := r.order[i]
		if m := r.marks[o.topic]; max(m.learned, m.reread) <= o.seq {
			delete(r.marks, o.topic)
		}
	}
	r.order = r.order[i:]
	if i > 0 && r.bitsSet > 2*len(r.marks)+markedBits/64 {
		r.publish()
	}
}

// size is the number of topics in the window.
func (r *recent) size() int {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return len(r.marks)
}
