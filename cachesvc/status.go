package cachesvc

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// State describes how far the service can keep its promise at present. Only StateStarting
// makes a replica not ready.
type State string

// The states.
const (
	StateStarting     State = "starting"             // the feed was never read
	StateServing      State = "serving"              // the lease is fresh
	StateRevalidating State = "revalidating"         // the feed is behind: values in L1 are read again from the database before use
	StateAway         State = "database_unreachable" // known keys are served from L1
	StateExhausted    State = "stale_limit_reached"  // the database has been unreachable for longer than MaxStale: look-ups are errors
)

// Status describes the state of the service in detail.
type Status struct {
	State         State
	Ready         bool          // the feed was loaded at least once
	FeedAge       time.Duration // since the start of the last complete read; -1 if there was none since the start or since a gap
	LeaseFresh    bool
	DatabaseUp    bool // no look-up has failed since the database last answered
	DatabaseAhead time.Duration
	Epoch         string
	FeedError     string // error of the last read; empty if it succeeded
	RecentChanges int    // topics in the window
	UsagePending  int64
	UsageExposed  bool   // some usage is in memory alone: it is lost if the process is killed
	Shared        string // state of Redis: none, up, full (accepts no writes), open (not called) or half_open (one call tries)
	Trusted       bool   // values in Redis are sealed, and checks use them
	Members       int    // number of known prefixes, by which forged keys are recognised; -1 if they are not loaded
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
