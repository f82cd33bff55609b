//go:build !race

// Without the race detector, under which it would take a quarter of an hour: it looks
// for wrong answers, and the model itself runs under the detector too.

package cachesvc

import (
	"context"
	"testing"
	"time"

	"extauthz/cachesvc/internal/cachetest"
	"extauthz/cachesvc/internal/freshness"
	"extauthz/feed"
)

// oneEpoch is a connection that hides a restore of the database, since it always returns
// the same epoch.
type oneEpoch struct{ *cachetest.Connection }

func (c oneEpoch) FeedStart(ctx context.Context, window time.Duration) (feed.Start, error) {
	p, err := c.Connection.FeedStart(ctx, window)
	p.Epoch = "one"
	return p, err
}

func (c oneEpoch) ReadFeed(ctx context.Context, from feed.Cursor, rows int) (feed.Page, error) {
	p, err := c.Connection.ReadFeed(ctx, from, rows)
	p.Epoch = "one"
	return p, err
}

// altered changes what the feed returns.
type altered struct {
	*cachetest.Connection
	page  func(from feed.Cursor, page *feed.Page)
	start func(*feed.Start)
}

func (c altered) ReadFeed(ctx context.Context, from feed.Cursor, rows int) (feed.Page, error) {
	p, err := c.Connection.ReadFeed(ctx, from, rows)
	if c.page != nil && err == nil {
		c.page(from, &p)
	}
	return p, err
}

func (c altered) FeedStart(ctx context.Context, window time.Duration) (feed.Start, error) {
	s, err := c.Connection.FeedStart(ctx, window)
	if c.start != nil && err == nil {
		c.start(&s)
	}
	return s, err
}

// lastRead records when the last read of the feed began.
type lastRead struct {
	Database
	clock *freshness.Clock
	began time.Duration
}

func (l *lastRead) FeedStart(ctx context.Context, window time.Duration) (feed.Start, error) {
	l.began = l.clock.Monotonic()
	return l.Database.FeedStart(ctx, window)
}

func (l *lastRead) ReadFeed(ctx context.Context, from feed.Cursor, rows int) (feed.Page, error) {
	l.began = l.clock.Monotonic()
	return l.Database.ReadFeed(ctx, from, rows)
}

func pages(alter func(from feed.Cursor, page *feed.Page)) func(*cachetest.Connection) Database {
	return func(c *cachetest.Connection) Database { return altered{Connection: c, page: alter} }
}

// TestModel_SeesDeliberateFaults breaks one part of the promise at a time. The model test
// has to detect each fault; otherwise its success would mean nothing.
func TestModel_SeesDeliberateFaults(t *testing.T) {
	if testing.Short() {
		t.Skip("takes minutes")
	}
	type fault struct {
		connect func(*cachetest.Connection) Database
		service option
	}
	for group, faults := range map[string]map[string]fault{
		"each_run": { // make test runs these too
			"staleness asked only at store": {asIs, func(s *Service) {
				s.trust.fresh = func(freshness.Topic, *freshness.Stamp) bool { return true }
			}},
			"negative entries not asked": {asIs, func(s *Service) {
				s.trust.fresh = func(about freshness.Topic, v *freshness.Stamp) bool {
					return !v.Found || s.trust.window.Fresh(about, v)
				}
			}},
			"lease from the end of a read": {asIs, func(s *Service) {
				s.trust.renew = func(time.Duration) { s.trust.lease.Renew(s.trust.clock.Monotonic()) }
			}},
			"cursor past an open transaction": {pages(func(_ feed.Cursor, p *feed.Page) { p.Next.Seen.Open = nil }), sound},
			"the rest of a read left out": {pages(func(_ feed.Cursor, p *feed.Page) {
				if p.Next.Partial() {
					p.Next = feed.Cursor{Seen: p.Next.Target}
				}
			}), sound},
			"a late commit before the last row left out": {pages(func(from feed.Cursor, p *feed.Page) {
				if p.Next.Partial() {
					p.Next.Seen.Open = nil
				}
			}), sound},
			"age started again at a hop": {asIs, func(s *Service) {
				s.trust.readAt = func(time.Time) time.Duration { return s.trust.clock.Monotonic() }
			}},
			"a rewind not noticed": {pages(func(from feed.Cursor, p *feed.Page) {
				p.Snapshot.Next, p.Version = max(p.Snapshot.Next, from.Seen.Next, from.Target.Next), 0
				p.Next.Seen.Next = max(p.Next.Seen.Next, from.Seen.Next)
			}), sound},
		},
		"full_run": {
			"the target moves between pages": {pages(func(_ feed.Cursor, p *feed.Page) {
				if p.Next.Partial() {
					p.Next.Target = p.Snapshot
				} else {
					p.Next.Seen = p.Snapshot
				}
			}), sound},
			"lease from the last page": {asIs, func(s *Service) {
				last := &lastRead{Database: s.db, clock: s.trust.clock}
				s.db = last
				s.trust.renew = func(time.Duration) { s.trust.lease.Renew(last.began) }
			}},
			"a bulk event not learned": {asIs, func(s *Service) { s.trust.learnAll = func(time.Duration) {} }},
			"what others cached trusted before the past is read": {func(c *cachetest.Connection) Database {
				return altered{Connection: c, start: func(s *feed.Start) { s.Past.Seen = s.Past.Target }}
			}, sound},
			"no epoch": {func(c *cachetest.Connection) Database { return oneEpoch{c} }, sound},
		},
	} {
		t.Run(group, func(t *testing.T) {
			for name, broken := range faults {
				t.Run(name, func(t *testing.T) {
					t.Parallel()
					for seed := range uint64(12 * modelSeeds) {
						if violation := runModel(t, seed*1000, broken.connect, broken.service); violation != "" {
							t.Logf("seed %d: %s", seed, violation)
							return
						}
					}
					t.Fatal("the model did not notice")
				})
			}
		})
	}
}
