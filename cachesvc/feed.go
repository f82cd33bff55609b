package cachesvc

import (
	"context"
	"fmt"
	"sync"
	"time"

	"extauthz/authz"
)

// startBudget is how long loading the window of the feed may take. Later reads
// have the lease's term: one that took longer would renew nothing.
const startBudget = 10 * time.Second

// feedPosition is where the feed reader stands.
type feedPosition struct {
	mu      sync.Mutex
	loaded  bool // the window is loaded, and cursor and epoch mean something
	cursor  authz.FeedCursor
	epoch   string
	version uint64 // the highest that the database has reported in this epoch
	over    string // the epoch that ended here: the database has to be told before the feed is loaded
	err     error  // of the last read
}

// Ring makes the feed be read at once. It is a doorbell: it never blocks, may be
// rung by anybody at any time, and decides nothing.
func (s *Service) Ring() {
	select {
	case s.bell <- struct{}{}:
	default: // it rings already, and the read that follows sees this change too
	}
}

// Ready is closed once the window of recent changes was loaded for the first
// time. Look-ups before that are right, but all go to the database.
func (s *Service) Ready() <-chan struct{} { return s.ready }

// followFeed reads the feed until ctx ends.
func (s *Service) followFeed(ctx context.Context) {
	pause := time.NewTimer(s.poll)
	defer pause.Stop()
	for {
		s.readFeed(ctx)
		if ctx.Err() != nil {
			return
		}
		s.tellState()
		pause.Reset(s.poll)
		select {
		case <-ctx.Done():
			return
		case <-s.bell:
		case <-pause.C:
		}
	}
}

// readFeed reads once, or, where there is nothing to go on from, loads the
// window.
func (s *Service) readFeed(ctx context.Context) {
	s.feed.mu.Lock()
	loaded, cursor, epoch, over, version := s.feed.loaded, s.feed.cursor, s.feed.epoch, s.feed.over, s.feed.version
	s.feed.mu.Unlock()

	start := s.trust.clock.monotonic()
	page, err := s.readPage(ctx, loaded, cursor, over)
	end := s.trust.clock.monotonic()
	if cause := feedEnd(&page, cursor, epoch, version); err == nil && loaded && cause.Kind != "" {
		s.startAnew(cause, epoch, page.Epoch == epoch && cause.Kind == CauseEpoch)
		s.Ring()
		return
	}

	s.feed.mu.Lock()
	defer s.feed.mu.Unlock()
	if s.feed.err = err; err != nil {
		return
	}
	if !loaded {
		// What was read meanwhile may be of yet another epoch.
		s.trust.recent.reset()
		if s.members != nil {
			s.members.loadAnew()
		}
	}
	// Before the lease: what it vouches for must be known.
	s.apply(page.Changes, Cause{Kind: CauseFeed, By: "feed"}, loaded)
	if s.feed.version = page.Version; page.Epoch == epoch { // as it was before a gap in the feed
		s.feed.version = max(page.Version, version)
	}
	s.feed.loaded, s.feed.cursor, s.feed.epoch, s.feed.over = true, page.Next, page.Epoch, ""
	s.trust.clock.observe(page.DBTime, start, end)
	s.renew(start)
	s.trust.outage.answered()
	s.becomeReady.Do(func() { close(s.ready) })
}

func (s *Service) readPage(ctx context.Context, loaded bool, cursor authz.FeedCursor, over string) (authz.FeedPage, error) {
	if !loaded {
		ctx, cancel := context.WithTimeout(ctx, startBudget)
		defer cancel()
		if over != "" {
			if err := s.db.EndEpoch(ctx, over); err != nil {
				return authz.FeedPage{}, err
			}
		}
		return s.db.FeedStart(ctx, s.retention)
	}
	ctx, cancel := context.WithTimeout(ctx, s.trust.lease.term)
	defer cancel()
	return s.db.ReadFeed(ctx, cursor)
}

// feedEnd returns why there is nothing to go on from: versions and cursor belong to
// another history, or changes were trimmed away before they were read here. Its
// kind is "" where there is. A database that was restored file by file bears the
// old epoch and is known by a place that lies behind what was read already; one
// whose versions were set back, by versions lower than those it gave before.
func feedEnd(page *authz.FeedPage, cursor authz.FeedCursor, epoch string, version uint64) Cause {
	end := func(kind CauseKind, why string, args ...any) Cause {
		return Cause{Kind: kind, By: "feed", Why: fmt.Sprintf(why, args...)}
	}
	switch {
	case page.Epoch != epoch && page.Why != "":
		return end(CauseEpoch, "the database's epoch is %q now, it was %q: %s", page.Epoch, epoch, page.Why)
	case page.Epoch != epoch:
		return end(CauseEpoch, "the database's epoch is %q now; it was %q", page.Epoch, epoch)
	case page.Next.Place() < cursor.Place():
		return end(CauseEpoch, "the database went back behind what was read from it: it was restored from a copy, or lost its last transactions")
	case page.Version != 0 && page.Version < version:
		return end(CauseEpoch, "the database's versions went back from %d to %d: the sequence change_version was set back, or not taken along to another server", version, page.Version)
	case page.Trimmed:
		return end(CauseTrimmed, "the feed was trimmed before it was read here")
	default:
		return Cause{}
	}
}

// startAnew forgets everything. Where over is true the database still bears the
// epoch of what is lost: it is given another one, so that no replica trusts what is
// left in the shared store.
func (s *Service) startAnew(cause Cause, epoch string, over bool) {
	s.trust.lease.void()
	s.trust.recent.reset()
	if s.members != nil {
		s.members.forget()
	}
	s.emptied(cause)
	s.feed.mu.Lock()
	s.feed.loaded = false
	if over {
		s.feed.over = epoch
	}
	s.feed.mu.Unlock()
}

// Now is the database's time, by which keys expire. Before the first feed read,
// and after MaxStale without one, it is the local clock's.
func (s *Service) Now() time.Time {
	now := s.trust.clock.monotonic()
	if !s.trust.lease.stands(now) {
		return s.trust.clock.now()
	}
	return s.trust.clock.database(now)
}
