package cachesvc

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"extauthz/authz"
	"extauthz/cachesvc/internal/remote"
	"extauthz/cachesvc/store"
)

const (
	bellChannel  = "apikey:changes"
	bellPrefixes = 100             // the most that one ring names
	bellQueue    = 1024            // changes that wait to be rung for
	bellBudget   = 2 * time.Second // no check waits for it
)

// ring is what is published: the prefixes of keys that have changed. It is a
// hint. Whoever hears it drops them and reads the feed, and decides nothing by
// it: anybody may be able to publish.
type ring struct {
	Prefixes []string `json:"prefixes,omitempty"`
	// Invalidate is what somebody wants to be dropped on all replicas.
	Invalidate Target `json:"invalidate,omitzero"`
	From       string `json:"from"` // instance, so that it does not hear itself
}

// bells rings the other replicas through the shared store, and drops there what
// has changed. Losing all of it costs them the time until the next poll.
type bells struct {
	shared   *remote.Client
	instance string
	waiting  chan authz.Change
	// requests bounds what is dropped because somebody rang: whoever can publish
	// could keep caches empty otherwise.
	requests budget
}

func newBells(s *remote.Client, instance string) *bells {
	return &bells{shared: s, instance: instance, waiting: make(chan authz.Change, bellQueue),
		requests: budget{interval: time.Second, burst: 10 * time.Second}}
}

// changed has a change rung for soon. It never blocks.
func (b *bells) changed(changes []authz.Change) {
	for _, c := range changes {
		select {
		case b.waiting <- c:
		default:
			return // the feed tells them
		}
	}
}

// run rings until ctx ends.
func (b *bells) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case c := <-b.waiting:
			b.ring(ctx, b.gather(c))
		}
	}
}

func (b *bells) gather(c authz.Change) []authz.Change {
	changes := []authz.Change{c}
	for len(changes) < bellPrefixes {
		select {
		case c := <-b.waiting:
			changes = append(changes, c)
		default:
			return changes
		}
	}
	return changes
}

// ring publishes first, since others wait for that alone. What fails is told by
// the breaker.
func (b *bells) ring(ctx context.Context, changes []authz.Change) {
	r := ring{From: b.instance}
	var keys, tags []string
	for _, c := range changes {
		if c.Prefix == "" {
			continue
		}
		r.Prefixes = append(r.Prefixes, c.Prefix)
		keys = append(keys, validationKeys+c.Prefix)
		if c.UserID != "" {
			keys = append(keys, userListKeys+store.Identifier(c.UserID))
		}
		if c.KeyID != "" {
			tags = append(tags, tagKey+store.Identifier(c.KeyID))
		}
	}
	_ = b.publish(ctx, r)
	if len(keys) == 0 {
		return
	}
	_ = b.shared.Do(ctx, remote.OpInvalidate, bellBudget, func(ctx context.Context) error {
		if _, err := b.shared.Store.Delete(ctx, keys...); err != nil {
			return err
		}
		_, err := b.shared.Store.InvalidateTags(ctx, tags...)
		return err
	})
}

// request asks all replicas to drop something.
func (b *bells) request(ctx context.Context, t Target) error {
	return b.publish(ctx, ring{From: b.instance, Invalidate: t})
}

func (b *bells) publish(ctx context.Context, r ring) error {
	payload, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("encoding a ring: %w", err)
	}
	return b.shared.Do(ctx, remote.OpPublish, bellBudget, func(ctx context.Context) error {
		return b.shared.Store.Publish(ctx, bellChannel, payload)
	})
}

// listen hears the other replicas until ctx ends.
func (s *Service) listen(ctx context.Context) {
	err := s.shared.Store.Subscribe(ctx, bellChannel, s.Ring, s.heard)
	if err != nil && ctx.Err() == nil {
		s.log.Error("doorbells of other replicas are not heard: they are polled for", "error", err)
	}
}

// heard takes in a ring, from whoever it comes.
func (s *Service) heard(payload []byte) {
	var r ring
	if json.Unmarshal(payload, &r) != nil {
		s.Ring()
		return
	}
	if r.From == s.instance {
		return
	}
	for _, prefix := range r.Prefixes[:min(len(r.Prefixes), bellPrefixes)] {
		s.keys.drop(prefix)
	}
	if !r.Invalidate.isZero() && s.bells.requests.take(s.trust.clock.Monotonic()) {
		if dropped, name, err := s.invalidateHere(r.Invalidate); err == nil {
			s.note(Cause{Kind: CauseRequested, By: "another replica"}, name, dropped)
		}
	}
	s.Ring()
}
