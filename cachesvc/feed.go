package cachesvc

import (
	"context"
	"fmt"
	"sync"
	"time"

	"extauthz/feed"
)

const (
	// startBudget is how long finding the present feed position may take. A page of a
	// read may take as long as the lease's term.
	startBudget = 10 * time.Second

	// minPageRows is the least number of changes that a page may have room for. A page
	// that is late is requested again with fewer rows, so that a slow connection to the
	// database slows the reader down but never stops it.
	minPageRows = 50

	// bulkChanges is the size above which a backlog is applied as one change that may be
	// about anything. Reading the backlog would take more time and memory than reading
	// the values in use again.
	bulkChanges = 50_000
)

// feedState is the state of the feed reader.
type feedState struct {
	mu         sync.Mutex
	loaded     bool          // cursor and epoch are valid
	loadedAt   time.Duration // when loaded was set
	cursor     feed.Cursor
	epoch      string
	version    uint64        // the highest version that the database has reported in this epoch
	began      time.Duration // when the present read began; it becomes the lease's start
	read       int           // number of changes that the present read has returned so far
	rows       int           // the largest number of rows in the next page
	endedEpoch string        // the epoch of a lost history: the database gets another one before the feed is loaded
	err        error         // error of the last read

	// past reads the changes from before the start. Until all are read, values that other
	// replicas cached before the start are not trusted. A cursor that is not partial
	// means that the changes were read, or will not be read.
	past     feed.Cursor
	pastRead int
}

// Wake triggers a read of the feed. It never blocks, may be called at any time, and
// decides nothing. Safe for concurrent use.
func (s *Service) Wake() {
	select {
	case s.wake <- struct{}{}:
	default: // a read is due already, and sees this change too
	}
}

// Ready is closed once the present feed position is known for the first time. Look-ups
// before that are correct, but all of them go to the database.
func (s *Service) Ready() <-chan struct{} { return s.ready }

// followFeed reads the feed until ctx ends.
func (s *Service) followFeed(ctx context.Context) {
	pause := time.NewTimer(s.poll)
	defer pause.Stop()
	for {
		s.readFeed(ctx)
		s.readPast(ctx)
		if ctx.Err() != nil {
			return
		}
		s.logState()
		pause.Reset(s.poll)
		select {
		case <-ctx.Done():
			return
		case <-s.wake:
		case <-pause.C:
		}
	}
}

// readFeed reads a page. If there is no position to continue from, it starts the feed.
func (s *Service) readFeed(ctx context.Context) {
	s.feed.mu.Lock()
	loaded, cursor, epoch, over := s.feed.loaded, s.feed.cursor, s.feed.epoch, s.feed.endedEpoch
	version, rows, began := s.feed.version, s.feed.rows, s.feed.loadedAt
	s.feed.mu.Unlock()
	if !loaded {
		s.beginFeed(ctx, over)
		return
	}
	start := s.trust.clock.Monotonic()
	page, err := s.readPage(ctx, cursor, rows)
	end := s.trust.clock.Monotonic()
	if cause := endOfHistory(&page, cursor, epoch, version); err == nil && cause.Kind != "" {
		s.restartHistory(cause, epoch, page.Epoch == epoch && cause.Kind == CauseEpoch)
		if start-began >= s.poll { // otherwise the restart a moment ago did not help
			s.Wake()
		}
		return
	}
	s.feed.mu.Lock()
	defer s.feed.mu.Unlock()
	if s.feed.err = err; err != nil {
		s.feed.rows = max(rows/4, minPageRows)
		return
	}
	s.feed.rows = min(2*rows, feed.MaxRows)
	s.trust.outage.RecordAnswer()
	s.takePage(&page, !cursor.Partial(), start, end)
}

// takePage applies a page's changes. After the last page of a read it renews the lease,
// which then runs from the start of the first page. The changes must be known before the
// lease is renewed.
func (s *Service) takePage(page *feed.Page, first bool, start, end time.Duration) {
	f := &s.feed
	if first {
		f.began, f.read = start, 0
	}
	f.version = max(f.version, page.Version)
	s.apply(page.Changes, Cause{Kind: CauseFeed, By: "feed"})
	f.read += len(page.Changes)
	f.cursor = page.Next
	if f.cursor.Partial() && f.read >= s.bulk {
		s.applyBulk()
		f.cursor = feed.Cursor{Seen: page.Next.Target}
	}
	if f.cursor.Partial() || !first {
		s.Wake() // to read the rest, or what was committed during this read
	}
	if f.cursor.Partial() {
		return
	}
	s.trust.clock.Observe(page.DBTime, start, end)
	s.trust.renew(f.began)
}

// applyBulk applies a backlog as one change that may be about anything.
func (s *Service) applyBulk() {
	if s.members != nil {
		s.members.ReloadLater()
	}
	s.trust.learnAll(s.trust.clock.Monotonic())
	s.dropEverythingFor(Cause{Kind: CauseBulk, By: "feed", Why: fmt.Sprintf("more than %d changes at once are taken as one about everything", s.bulk)})
}

// beginFeed starts the feed at the database's present state. Every value that was read
// before is stale from then on.
func (s *Service) beginFeed(ctx context.Context, over string) {
	start := s.trust.clock.Monotonic()
	began, err := s.startFeed(ctx, over)
	end := s.trust.clock.Monotonic()
	s.feed.mu.Lock()
	defer s.feed.mu.Unlock()
	if s.feed.err = err; err != nil {
		return
	}
	// Values that were read since the last reset may be from yet another epoch.
	s.trust.window.Reset()
	if s.members != nil {
		s.members.StartHistory()
	}
	f := &s.feed
	if f.version = max(began.Version, f.version); began.Epoch != f.epoch { // within an epoch, as after a gap in the feed, the version stays
		f.version = began.Version
	}
	f.loaded, f.loadedAt, f.cursor, f.epoch, f.endedEpoch, f.rows = true, end, began.Next, began.Epoch, "", feed.MaxRows
	if f.past, f.pastRead = (feed.Cursor{}), 0; s.shared != nil {
		s.trust.window.DistrustPast(end)
		f.past = began.Past
		s.Wake() // to read past
	}
	s.trust.clock.Observe(began.DBTime, start, end)
	s.trust.renew(start)
	s.trust.outage.RecordAnswer()
	select {
	case <-s.ready:
		s.warm.request()
	default:
		close(s.ready)
	}
}

func (s *Service) startFeed(ctx context.Context, over string) (feed.Start, error) {
	ctx, cancel := context.WithTimeout(ctx, startBudget)
	defer cancel()
	if over != "" {
		if err := s.db.EndEpoch(ctx, over); err != nil {
			return feed.Start{}, err
		}
	}
	return s.db.FeedStart(ctx, s.retention)
}

func (s *Service) readPage(ctx context.Context, cursor feed.Cursor, rows int) (feed.Page, error) {
	ctx, cancel := context.WithTimeout(ctx, s.trust.lease.Term)
	defer cancel()
	return s.db.ReadFeed(ctx, cursor, rows)
}

// readPast reads a page of the changes from before the start, once the feed has been
// read. If these changes are more than a backlog may hold, or some were trimmed, values
// that other replicas cached before the start are never trusted.
func (s *Service) readPast(ctx context.Context) {
	s.feed.mu.Lock()
	past, epoch := s.feed.past, s.feed.epoch
	due := past.Partial() && s.feed.loaded && s.feed.err == nil && !s.feed.cursor.Partial()
	s.feed.mu.Unlock()
	if !due {
		return
	}
	page, err := s.readPage(ctx, past, feed.MaxRows)
	if err != nil {
		return // it is tried again at the next poll
	}
	s.feed.mu.Lock()
	defer s.feed.mu.Unlock()
	f := &s.feed
	f.pastRead += len(page.Changes)
	if page.Epoch != epoch { // the next read of the feed starts it again
		f.past = feed.Cursor{}
		return
	}
	if page.Trimmed || f.pastRead >= s.bulk && page.Next.Partial() {
		f.past = feed.Cursor{}
		s.log.Info("what Redis held before the start is not used: too much has changed, or the feed no longer holds it", "changes", f.pastRead)
		return
	}
	s.trust.window.Learn(page.Changes, false, s.trust.clock.Monotonic())
	if f.past = page.Next; f.past.Partial() {
		s.Wake()
		return
	}
	f.past = feed.Cursor{}
	s.trust.window.TrustPast()
}

// endOfHistory returns why reading can't continue from the cursor: the cursor and the
// known versions belong to another history, or changes were trimmed before they were read
// here. The Kind is "" if reading can continue.
//
// A database that was restored file by file has the old epoch. It is recognised by a
// position behind the one that was read already. A database whose versions were set back
// is recognised by versions lower than those that it reported before.
func endOfHistory(page *feed.Page, cursor feed.Cursor, epoch string, version uint64) Cause {
	end := func(kind CauseKind, why string, args ...any) Cause {
		return Cause{Kind: kind, By: "feed", Why: fmt.Sprintf(why, args...)}
	}
	switch {
	case page.Epoch != epoch && page.Why != "":
		return end(CauseEpoch, "the database's epoch is %q now, it was %q: %s", page.Epoch, epoch, page.Why)
	case page.Epoch != epoch:
		return end(CauseEpoch, "the database's epoch is %q now; it was %q", page.Epoch, epoch)
	case page.Snapshot.Next < max(cursor.Seen.Next, cursor.Target.Next):
		return end(CauseEpoch, "the database went back behind what was read from it: it was restored from a copy, or lost its last transactions")
	case page.Version != 0 && page.Version < version:
		return end(CauseEpoch, "the database's versions went back from %d to %d: the sequence change_version was set back, or not taken along to another server", version, page.Version)
	case page.Trimmed:
		return end(CauseTrimmed, "the feed was trimmed before it was read here")
	default:
		return Cause{}
	}
}

// restartHistory forgets everything. If over is true, the database still has the epoch of
// the lost history. It then gets another epoch before the feed is loaded, so that no
// replica trusts what the shared store still holds of the lost history.
func (s *Service) restartHistory(cause Cause, epoch string, over bool) {
	s.trust.lease.Void()
	s.trust.window.Reset()
	if s.members != nil {
		s.members.Discard()
	}
	s.dropEverythingFor(cause)
	s.feed.mu.Lock()
	s.feed.loaded = false
	if over {
		s.feed.endedEpoch = epoch
	}
	s.feed.mu.Unlock()
}

// Now returns the database's time, by which keys expire. Before the first feed read, and
// after MaxStale without one, it returns the local time.
func (s *Service) Now() time.Time {
	now := s.trust.clock.Monotonic()
	if !s.trust.lease.WithinMaxStale(now) {
		return s.trust.clock.Now()
	}
	return s.trust.clock.DatabaseTime(now)
}
