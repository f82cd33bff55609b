package cachesvc

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// State is how far the service can keep its promise at present. It serves in each
// state but the first; none but the first makes a replica not ready.
type State string

// The states.
const (
	StateStarting     State = "starting"             // the feed was never read
	StateServing      State = "serving"              // the lease is fresh
	StateRevalidating State = "revalidating"         // the feed is behind: L1 is checked against the database
	StateAway         State = "database_unreachable" // known keys go on from L1
	StateExhausted    State = "stale_limit_reached"  // the database is away for longer than MaxStale: errors
)

// Status is the detail of readiness.
type Status struct {
	State         State
	Ready         bool          // the feed was loaded once
	FeedAge       time.Duration // since the start of the last complete read; -1: none, or nothing known since a gap
	LeaseFresh    bool
	DatabaseUp    bool // no look-up has failed since the last answer
	DatabaseAhead time.Duration
	Epoch         string
	FeedError     string // of the last read; empty if it succeeded
	RecentChanges int    // topics in the window
	UsagePending  int64
	UsageExposed  bool   // some of it is in memory alone: a kill loses it
	Shared        string // Redis: none, up, full (takes no writes), open (not asked) or half_open (tried again)
	Trusted       bool   // values in Redis are sealed, and count for checks
	Members       int    // known prefixes, by which forged keys are recognised; -1: none are known yet
}

// Status returns the present state.
func (s *Service) Status() Status {
	now := s.trust.clock.Monotonic()
	st := Status{
		FeedAge:       -1,
		LeaseFresh:    s.trust.lease.Fresh(now),
		DatabaseUp:    !s.trust.outage.Down.Load(),
		DatabaseAhead: time.Duration(s.trust.clock.Drift.Load()),
		RecentChanges: s.trust.window.Size(),
		UsagePending:  s.usage.Pending(),
		UsageExposed:  s.usage.Exposed.Load(),
		Members:       -1,
		Shared:        s.shared.State(),
		Trusted:       s.shared != nil && len(*s.sealing.Load()) > 0,
	}
	if s.members != nil {
		st.Members = s.members.Count()
	}
	if age, ok := s.trust.lease.Age(now); ok {
		st.FeedAge = age
	}
	select {
	case <-s.ready:
		st.Ready = true
	default:
	}
	s.feed.mu.Lock()
	st.Epoch = s.feed.epoch
	if s.feed.err != nil {
		st.FeedError = s.feed.err.Error()
	}
	s.feed.mu.Unlock()
	st.State = s.state(now, st)
	return st
}

func (s *Service) state(now time.Duration, st Status) State {
	switch {
	case !st.Ready:
		return StateStarting
	case st.LeaseFresh:
		return StateServing
	case st.DatabaseUp:
		return StateRevalidating
	case s.trust.lease.WithinMaxStale(now):
		return StateAway
	default:
		return StateExhausted
	}
}

func (st Status) feedAgeSeconds() float64 {
	if st.FeedAge < 0 {
		return -1
	}
	return st.FeedAge.Seconds()
}

// stateLog writes one line for each change of state.
type stateLog struct {
	mu   sync.Mutex
	last State
}

// logState logs the state if it has changed.
func (s *Service) logState() {
	st := s.Status()
	s.states.mu.Lock()
	defer s.states.mu.Unlock()
	if st.State == s.states.last {
		return
	}
	before := s.states.last
	s.states.last = st.State
	level := slog.LevelWarn
	if st.State == StateServing {
		level = slog.LevelInfo
	}
	s.log.Log(context.Background(), level, "cache state changed", "state", st.State, "before", before, "feed_age", st.FeedAge.Round(time.Millisecond).String(), "feed_error", st.FeedError, "epoch", st.Epoch)
}
