package cachesvc

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"extauthz/authz"
	"extauthz/cachesvc/internal/l1"
	"extauthz/cachesvc/internal/remote"
	"extauthz/cachesvc/store"
)

// CauseKind is the kind of reason why entries were dropped: the label cause of
// cache_invalidations_total.
type CauseKind string

// The kinds of cause.
const (
	CauseFeed      CauseKind = "feed"      // the change feed brought a change
	CauseOwnWrite  CauseKind = "own_write" // this replica made the change
	CauseRequested CauseKind = "requested" // an administrator requested it
	CauseEpoch     CauseKind = "epoch"     // the database was restored or promoted
	CauseTrimmed   CauseKind = "trimmed"   // the feed has a gap
	CauseBulk      CauseKind = "bulk"      // a backlog of changes too large to be applied one by one
	CauseMemory    CauseKind = "memory"    // the shared store was nearly full
)

// Cause describes why entries were dropped, and which person or part of the service
// dropped them.
type Cause struct {
	Kind CauseKind
	By   string // an administrator's key id, or a part of the service
	Why  string
}

// Invalidation is one event of the cache's history.
type Invalidation struct {
	At      time.Time
	Cause   Cause
	Target  string // "key ak_live_…", "role …", "user …", "tag …" or "all"
	Dropped int    // number of entries that were dropped
}

// Target is what [Service.Invalidate] drops; exactly one field is set.
type Target struct {
	Key  string `json:"key,omitempty"` // prefix or id
	User string `json:"user,omitempty"`
	Tag  string `json:"tag,omitempty"` // apikey-user-<user>, apikey-<key id>, apikey-validation, apikey-scopes
	All  bool   `json:"all,omitempty"`
}

func (t Target) isZero() bool { return t == Target{} }

// ErrTarget is returned for a target that names nothing or several things, or a tag that
// does not exist.
var ErrTarget = errors.New("name exactly one of key, user, tag (apikey-user-<user>, apikey-<key id>, apikey-validation, apikey-scopes) and all")

// Changed records changes that this replica has just committed. No look-up that begins on
// this replica after Changed has returned sees the state from before them. Changed does
// no I/O. It also accepts changes whose Version is 0 (unknown).
func (s *Service) Changed(_ context.Context, changes []authz.Change) {
	s.apply(changes, Cause{Kind: CauseOwnWrite, By: "keyring"})
	if s.notifier != nil {
		s.notifier.enqueue(changes)
	}
}

// apply records changes and drops the values that they made stale. The order matters:
// once a change is recorded, older values in L1 or in a flight are rejected at delivery.
// Dropping them only frees memory.
func (s *Service) apply(changes []authz.Change, cause Cause) {
	own := cause.Kind == CauseOwnWrite
	if s.members != nil {
		for _, c := range changes {
			if c.Prefix != "" {
				s.members.Learn(c.Prefix)
			}
		}
	}
	for _, c := range s.trust.window.Learn(changes, own, s.trust.clock.Monotonic()) {
		target, dropped := s.dropChanged(c)
		s.record(cause, target, dropped)
		if !own && !c.At.IsZero() {
			s.metrics.lag.Observe(max(s.Now().Sub(c.At), 0).Seconds())
		}
	}
}

func (s *Service) dropChanged(c authz.Change) (target string, dropped int) {
	switch {
	case c.Kind == authz.ChangeKey && c.Prefix != "":
		target = "key " + c.Prefix
		dropped = oneIf(s.keys.drop(c.Prefix))
		if c.UserID != "" {
			dropped += s.dropUserList(c.UserID)
		}
	case c.Kind == authz.ChangeRole && c.Role != "":
		target = "role " + c.Role
		dropped = oneIf(s.roles.drop(c.Role))
	default:
		target, dropped = "all", s.dropEverything()
	}
	return target, dropped
}

// Invalidate drops entries in this process and in the shared store and, if the shared
// store answers, on all other replicas. So they are read again. It returns the number of
// entries dropped in this process and in the shared store. A failure of the shared store
// is logged, not returned. Correctness never depends on Invalidate; it is for an operator
// who changed the database while its triggers were off. Dropping by user, by id or by tag
// visits every entry in the process.
func (s *Service) Invalidate(ctx context.Context, t Target, by, why string) (int, error) {
	dropped, name, err := s.invalidateHere(t)
	if err != nil {
		return 0, err
	}
	if s.shared != nil {
		n, err := s.invalidateShared(ctx, t)
		if err != nil {
			s.log.Warn("entries in Redis could not be dropped; other replicas may not have dropped theirs", "target", name, "error", err)
		}
		dropped += n
	}
	s.record(Cause{Kind: CauseRequested, By: by, Why: why}, name, dropped)
	return dropped, nil
}

func (s *Service) invalidateHere(t Target) (dropped int, name string, err error) {
	drop, name, err := s.target(t)
	if err != nil {
		return 0, "", err
	}
	// Flights are forgotten first: otherwise they would store their values after the
	// drop.
	s.keys.flights.forget()
	s.roles.flights.forget()
	return drop(), name, nil
}

// invalidateShared drops entries from the shared store, then notifies the other replicas.
func (s *Service) invalidateShared(ctx context.Context, t Target) (dropped int, err error) {
	var keys, tags []string
	switch {
	case t.Key != "":
		id := store.Identifier(t.Key) // a prefix is its own identifier
		keys, tags = []string{validationKeys + id}, []string{tagKey + id}
	case t.User != "":
		tags = []string{tagUser + store.Identifier(t.User)}
	case t.All:
		tags = []string{tagValidation, tagScopes, tagUserList}
	default:
		tags = []string{sharedTag(t.Tag)}
	}
	err = s.shared.Do(ctx, remote.OpInvalidate, countBudget, func(ctx context.Context) error {
		n, err := s.shared.Store.Delete(ctx, keys...)
		if err != nil {
			return err
		}
		m, err := s.shared.Store.InvalidateTags(ctx, tags...)
		dropped = n + m
		return err
	})
	if err != nil {
		return dropped, err
	}
	return dropped, s.notifier.requestInvalidation(ctx, t)
}

// sharedTag returns a tag as it is stored in the shared store: users and ids that can't
// be part of a name are hashed there.
func sharedTag(tag string) string {
	for _, head := range []string{tagUser, tagKey} {
		if id, ok := strings.CutPrefix(tag, head); ok && tag != tagValidation && tag != tagScopes {
			return head + store.Identifier(id)
		}
	}
	return tag
}

func (s *Service) target(t Target) (drop func() int, name string, err error) {
	var set int
	if t.Key != "" {
		set++
		drop, name = func() int { return s.dropKey(t.Key) }, "key "+t.Key
	}
	if t.User != "" {
		set++
		drop, name = func() int { return s.dropUser(t.User) }, "user "+t.User
	}
	if t.Tag != "" {
		set++
		drop, name = s.dropByTag(t.Tag), "tag "+t.Tag
	}
	if t.All {
		set++
		drop, name = s.dropEverything, "all"
	}
	if set != 1 || drop == nil {
		return nil, "", ErrTarget
	}
	return drop, name, nil
}

// dropByTag returns a function that drops the entries with this tag, or nil if the cache
// has no such tag.
func (s *Service) dropByTag(tag string) func() int {
	switch tag {
	case tagValidation:
		return s.keys.dropAll
	case tagScopes:
		return s.roles.dropAll
	}
	if user, ok := strings.CutPrefix(tag, tagUser); ok {
		return unlessEmpty(user, s.dropUser)
	}
	if id, ok := strings.CutPrefix(tag, tagKey); ok {
		return unlessEmpty(id, s.dropKey)
	}
	return nil
}

func unlessEmpty(id string, drop func(string) int) func() int {
	if id == "" {
		return nil
	}
	return func() int { return drop(id) }
}

// Tags of cached entries.
const (
	tagValidation = "apikey-validation"
	tagScopes     = "apikey-scopes"
	tagUser       = "apikey-user-" // + user id
	tagKey        = "apikey-"      // + key id
)

func (s *Service) dropKey(ref string) int {
	if s.keys.drop(ref) {
		return 1
	}
	return s.keys.dropWhere(func(c *l1.Credential) bool { return c.Record.ID == ref })
}

func (s *Service) dropUser(user string) int {
	return s.dropUserList(user) + s.keys.dropWhere(func(c *l1.Credential) bool { return c.Record.UserID == user })
}

func (s *Service) dropEverything() int {
	return s.keys.dropAll() + s.roles.dropAll() + s.dropUserLists()
}

func (s *Service) dropEverythingFor(cause Cause) {
	s.record(cause, "all", s.dropEverything())
	s.log.Warn("all cached entries were dropped", "cause", cause.Kind, "why", cause.Why)
}

func (s *Service) record(cause Cause, target string, dropped int) {
	s.metrics.causes[cause.Kind].Inc()
	s.history.add(Invalidation{At: s.Now(), Cause: cause, Target: target, Dropped: dropped})
}

func oneIf(dropped bool) int {
	if dropped {
		return 1
	}
	return 0
}

// maxHistory is how many invalidations are remembered.
const maxHistory = 1000

// history is a circular buffer of the last invalidations.
type history struct {
	mu   sync.Mutex
	last []Invalidation
	next int
}

func (h *history) add(i Invalidation) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.last) < maxHistory {
		h.last = append(h.last, i)
	} else {
		h.last[h.next] = i
	}
	h.next = (h.next + 1) % maxHistory
}

// Invalidations returns the latest invalidations, newest first: at most limit, and at
// most 1,000.
func (s *Service) Invalidations(limit int) []Invalidation {
	h := &s.history
	h.mu.Lock()
	defer h.mu.Unlock()
	n := min(max(limit, 0), len(h.last))
	list := make([]Invalidation, 0, n)
	for i := range n {
		list = append(list, h.last[(h.next-1-i+2*maxHistory)%maxHistory])
	}
	return list
}
