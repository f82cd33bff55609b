package freshness

import (
	"hash/maphash"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"extauthz/authz"
)

// maxTopics bounds the number of changes in the window, and so its memory to some 25 MiB.
// Beyond it the oldest changes are dropped, and every value that was read before them is
// stale.
const maxTopics = 100_000

// Subject is what a change or a cached value is about.
type Subject uint8

// The subjects.
const (
	SubjectKey  Subject = iota + 1 // named by prefix
	SubjectRole                    // named by name
	subjectUser                    // the list of a user's keys, named by the user's id
)

// Topic names one thing that can change.
type Topic struct {
	Subject Subject
	ID      string
}

// Stamp describes the state of the database from which a cached value was read.
type Stamp struct {
	Found      bool
	Version    uint64 // version of the row; 0 if there is none
	Seq        uint64 // seq of the window before the read began
	Generation uint64 // generation of the window: see [Window.Reset]

	// Shared: another replica read the value, from the database as it was at AsOf.
	Shared bool
	AsOf   time.Duration // when the read of the database began, monotonic

	// OutsideLease: the value was read while the lease was not fresh. The feed may never
	// report the state that it was read from, since a database that is restored meanwhile
	// need not be behind the cursor. So the value may be used only while the database is
	// unreachable.
	OutsideLease bool

	Expires     time.Duration // until then the value may be used under a fresh lease
	UsableUntil time.Duration // from then on the value is never used

	// Checked is the window's seq at which the value was last found fresh; 0 if it never
	// was. While nothing new is learned, another test costs one atomic load.
	Checked atomic.Uint64
}

// AsOfSlack is how inexactly the moment of another replica's read is known. The moment is
// a time of the database's clock, which each replica measures by a round trip shorter
// than the lease.
const AsOfSlack = time.Second

// mark holds what is known of the last change of a topic.
type mark struct {
	version  uint64
	learned  uint64 // the window's seq when the version was learned
	reread   uint64 // values read before this seq are stale whatever their version
	received uint64 // the highest version received from the feed

	// position is the feed position of the last change received from the feed. It is only
	// set for topics of users, whose lists have no version.
	position uint64
	// notReceived: this replica made a change that the feed has not yet brought. So the
	// version of the change, or its position, is not known.
	notReceived bool
	// ownUntil: values that other replicas read before this moment are stale whatever
	// their version, because of a change that this replica made.
	ownUntil time.Duration
}

// allTopics holds state that concerns all topics.
type allTopics struct {
	version uint64 // version of the last change that may be about anything
	reread  uint64 // values read before this seq are stale whatever their version
	// Values that other replicas read before these moments are stale. at is set by
	// changes that were dropped or may be about anything. pastUntil is set by the start,
	// until the changes from before it are learned.
	at, pastUntil time.Duration
}

func (e *allTopics) sharedFrom() time.Duration { return max(e.at, e.pastUntil) }

// Window holds the last change of everything that changed lately, for longer than any
// cached value can live. It alone decides whether a value is stale. Safe for concurrent
// use.
type Window struct {
	seq atomic.Uint64 // grows whenever something is learned

	Retention time.Duration // not to be changed once the window is in use
	limit     int

	seed    maphash.Seed
	filter  atomic.Pointer[markFilter] // tested before the marks; changed under mu
	bitsSet int                        // number of bits set in the filter, at most; under mu

	mu         sync.RWMutex
	generation uint64
	all        allTopics
	marks      map[Topic]mark
	order      []entry // oldest first
}

// entry is one change in the order in which changes were learned.
type entry struct {
	topic Topic
	seq   uint64
	at    time.Duration
}

// NewWindow returns an empty window that holds changes for the retention.
func NewWindow(retention time.Duration) *Window {
	w := &Window{Retention: retention, limit: maxTopics, marks: make(map[Topic]mark), seed: maphash.MakeSeed()}
	w.publishFilter()
	w.seq.Store(1) // 0 is the Checked of a stamp that was never found fresh
	return w
}

// Begin returns the Seq and Generation for the stamp of a read that begins now.
func (w *Window) Begin() (seq, generation uint64) {
	w.mu.RLock()
	defer w.mu.RUnlock()
	return w.seq.Load(), w.generation
}

// Fresh reports whether nothing newer than the value is known. A value that exists is
// judged by its version: a newer one stays newer, even if a lagging database returns the
// old one again. A negative entry has no version, so it is stale if anything about its
// topic was learned after its read began.
func (w *Window) Fresh(t Topic, s *Stamp) bool {
	seq := w.seq.Load() // loaded before the test, so that the result holds for this seq
	if s.Checked.Load() == seq {
		return true
	}
	if w.stale(t, s) {
		return false
	}
	s.Checked.Store(seq)
	return true
}

func (w *Window) stale(t Topic, s *Stamp) bool {
	if u := w.filter.Load(); !u.mayContain(w.hash(t)) {
		return s.stale(u.generation, &u.all, mark{})
	}
	w.mu.RLock()
	defer w.mu.RUnlock()
	return s.stale(w.generation, &w.all, w.marks[t])
}

// stale compares a stamp with what is known of its topic (m) and of all topics.
func (s *Stamp) stale(generation uint64, all *allTopics, m mark) bool {
	if s.Generation != generation {
		return true
	}
	if s.Shared {
		// Seq means nothing here: the replica that read the value had learned other
		// changes than this one.
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

// Learn records changes and returns those that are new. own means that this replica made
// them. Values of their topics that were read before are then stale whatever their
// version, since a restored database may have begun its versions again.
func (w *Window) Learn(changes []authz.Change, own bool, now time.Duration) (fresh []authz.Change) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.trim(now)
	seq := w.seq.Load() + 1
	for _, c := range changes {
		if !w.record(c, own, seq, now) {
			continue
		}
		fresh = append(fresh, c)
	}
	if len(fresh) == 0 {
		return nil
	}
	if len(w.order) > w.limit {
		w.dropOldest(len(w.order) - w.limit*3/4)
	}
	w.seq.Store(seq)
	return fresh
}

// LearnAll records that anything may have changed: every value that was read before is
// stale.
func (w *Window) LearnAll(now time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	seq := w.seq.Load() + 1
	clear(w.marks)
	w.order = nil
	w.all.reread, w.all.at = seq, now+AsOfSlack
	w.publishFilter()
	w.seq.Store(seq)
}

// dropOldest drops the n oldest changes. A value that was read before they were learned
// may have the state from before them, so it becomes stale. Later reads have seen the
// changes.
func (w *Window) dropOldest(n int) {
	last := w.order[n-1]
	for _, o := range w.order[:n] {
		if m := w.marks[o.topic]; max(m.learned, m.reread) <= last.seq {
			delete(w.marks, o.topic)
		}
	}
	w.order = slices.Clone(w.order[n:])
	w.all.reread, w.all.at = max(w.all.reread, last.seq), max(w.all.at, last.at+AsOfSlack)
	w.publishFilter()
}

// DistrustPast makes values stale that other replicas read before now, since changes from
// before now were not learned. [Window.TrustPast] ends this.
func (w *Window) DistrustPast(now time.Duration) { w.setPastUntil(now + AsOfSlack) }

// TrustPast records that the changes from before the start are learned.
func (w *Window) TrustPast() { w.setPastUntil(0) }

func (w *Window) setPastUntil(until time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.all.pastUntil = until
	w.publishFilter()
	w.seq.Add(1)
}

// record records a change and reports whether it is new.
func (w *Window) record(c authz.Change, own bool, seq uint64, now time.Duration) bool {
	t := Topic{Subject: SubjectKey, ID: c.Prefix}
	switch {
	case c.Kind == authz.ChangeKey && c.Prefix != "":
	case c.Kind == authz.ChangeRole && c.Role != "":
		t = Topic{Subject: SubjectRole, ID: c.Role}
	default: // a change of an unknown kind may be about anything
		if c.Version <= w.all.version && !own {
			return false
		}
		w.all.version, w.all.reread, w.all.at = max(c.Version, w.all.version), seq, now+AsOfSlack
		w.publishFilter()
		return true
	}
	m := w.marks[t]
	fresh := c.Version > m.version || own
	if c.Version > m.version {
		m.version, m.learned = c.Version, seq
	}
	first := !own && c.Version > m.received // the feed brings the change for the first time
	if first {
		m.received, m.notReceived = c.Version, false
	}
	if own {
		m.reread, m.ownUntil = seq, now+AsOfSlack
		// For a key or a role it is enough that the version is known.
		m.notReceived = c.Version == 0 || m.notReceived
	}
	if !fresh && !first {
		return false
	}
	w.store(t, m, seq, now)
	if c.UserID != "" {
		w.recordUser(c, own, c.Version <= m.received, first, seq, now)
	}
	return fresh
}

// recordUser records a change of a key for the list of its user's keys. received means
// that the feed has brought the change.
func (w *Window) recordUser(c authz.Change, own, received, first bool, seq uint64, now time.Duration) {
	t := Topic{Subject: subjectUser, ID: c.UserID}
	m := w.marks[t]
	m.reread = seq
	if own {
		m.ownUntil = now + AsOfSlack
		m.notReceived = m.notReceived || c.Version == 0 || !received
	}
	if first {
		m.position, m.notReceived = max(m.position, c.Position), false
	}
	w.store(t, m, seq, now)
}

// ListStale reports whether a list of a user's keys may lack a change. The list was read
// at asOf; position is the feed position before that.
func (w *Window) ListStale(user string, position uint64, asOf time.Duration) bool {
	w.mu.RLock()
	defer w.mu.RUnlock()
	m, ok := w.marks[Topic{Subject: subjectUser, ID: user}]
	return ok && (m.notReceived || m.position >= position || asOf < m.ownUntil) || asOf < w.all.sharedFrom()
}

func (w *Window) store(t Topic, m mark, seq uint64, now time.Duration) {
	w.filter.Load().add(w.hash(t))
	w.bitsSet++
	w.marks[t] = m
	w.order = append(w.order, entry{t, seq, now})
}

// Reset forgets all changes from the feed and makes every value stale that was read until
// now. The versions of different epochs can't be compared, and after a gap in the feed it
// is unknown what changed. Of the changes that this replica made, Reset keeps the moment,
// which means the same in every epoch.
func (w *Window) Reset() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.generation++
	w.all = allTopics{}
	for t, m := range w.marks {
		if m.ownUntil == 0 {
			delete(w.marks, t)
		} else {
			w.marks[t] = mark{reread: m.reread, ownUntil: m.ownUntil}
		}
	}
	w.order = slices.DeleteFunc(w.order, func(o entry) bool { _, kept := w.marks[o.topic]; return !kept })
	w.publishFilter()
	w.seq.Add(1)
}

// SameGeneration reports whether there was no reset since this generation.
func (w *Window) SameGeneration(generation uint64) bool {
	w.mu.RLock()
	defer w.mu.RUnlock()
	return generation == w.generation
}

// trim drops changes that were learned longer ago than the retention.
func (w *Window) trim(now time.Duration) {
	i := 0
	for ; i < len(w.order) && w.order[i].at+w.Retention < now; i++ {
		o := w.order[i]
		if m := w.marks[o.topic]; max(m.learned, m.reread) <= o.seq {
			delete(w.marks, o.topic)
		}
	}
	w.order = w.order[i:]
	if i > 0 && w.bitsSet > 2*len(w.marks)+markedBits/64 {
		w.publishFilter()
	}
}

// Size returns the number of topics in the window.
func (w *Window) Size() int {
	w.mu.RLock()
	defer w.mu.RUnlock()
	return len(w.marks)
}
