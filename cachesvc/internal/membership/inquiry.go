package membership

import (
	"context"
	"sync"
	"time"

	"extauthz/cachesvc/internal/freshness"
)

const (
	// InquiryPause is the least time between two feed reads for waiting checks: 40 a
	// second, in addition to the usual four.
	InquiryPause = 25 * time.Millisecond
	// InquiryWait is how long a feed read for waiting checks may take.
	InquiryWait = 100 * time.Millisecond
	// inquiryWaiters is how many checks may wait at the same time. A gateway allows a
	// cluster some thousand requests at once, of which a flood of forgeries must hold
	// only a part.
	inquiryWaiters = 256
)

// Inquiry lets checks wait for a complete feed read that began after they arrived. All
// keys that were committed before are known then, so "no such key" is certain. All checks
// that arrive while one read is under way share the next one. Safe for concurrent use.
type Inquiry struct {
	lease *freshness.Lease
	clock *freshness.Clock
	wake  func() // triggers a feed read at once

	mu      sync.Mutex
	next    *feedRound // the read for which new checks wait; nil if none waits
	waiting int
	asked   chan struct{}
}

// feedRound is one feed read that checks wait for.
type feedRound struct {
	done     chan struct{}
	complete bool // may be read once done is closed
}

// NewInquiry returns an inquiry that no check waits for. wake triggers a feed read at
// once.
func NewInquiry(lease *freshness.Lease, clock *freshness.Clock, wake func()) *Inquiry {
	return &Inquiry{lease: lease, clock: clock, wake: wake, asked: make(chan struct{}, 1)}
}

// Await waits for a complete feed read that began after the call, and reports whether
// there was one. It returns false if ctx ends or the feed can't be read in time, and at
// once if too many checks wait already.
func (q *Inquiry) Await(ctx context.Context) bool {
	q.mu.Lock()
	if q.waiting >= inquiryWaiters {
		q.mu.Unlock()
		return false
	}
	q.waiting++
	if q.next == nil {
		q.next = &feedRound{done: make(chan struct{})}
		select {
		case q.asked <- struct{}{}:
		default:
		}
	}
	round := q.next
	q.mu.Unlock()
	defer func() {
		q.mu.Lock()
		q.waiting--
		q.mu.Unlock()
	}()
	select {
	case <-round.done:
		return round.complete
	case <-ctx.Done():
		return false
	}
}

// Run triggers a feed read for the waiting checks whenever there are any, until ctx ends.
func (q *Inquiry) Run(ctx context.Context) {
	pause := time.NewTimer(0)
	defer pause.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-q.asked:
		}
		select {
		case <-ctx.Done():
			return
		case <-pause.C:
		}
		q.mu.Lock()
		round := q.next
		q.next = nil
		q.mu.Unlock()
		round.complete = q.read(ctx)
		close(round.done)
		pause.Reset(InquiryPause)
	}
}

// read reports whether a feed read that begins from now on completes in time.
func (q *Inquiry) read(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, InquiryWait)
	defer cancel()
	now := q.clock.Monotonic()
	q.wake()
	for !q.lease.StartedSince(now) {
		select {
		case <-ctx.Done():
			return false
		case <-q.lease.Renewed:
		}
	}
	return true
}
