package cachesvc

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"extauthz/authz"
	"extauthz/cachesvc/internal/budget"
	"extauthz/cachesvc/internal/remote"
	"extauthz/cachesvc/store"
)

const (
	notifyChannel  = "apikey:changes"
	notifyPrefixes = 100             // that one notification names at most
	notifyQueue    = 1024            // changes that wait to be sent
	notifyBudget   = 2 * time.Second // no check waits for it
)

// notification is what is published: the prefixes of keys that have changed. It is a hint.
// A replica that receives it drops them and reads the feed, and decides nothing by it: any
// client of the shared store may be able to publish.
type notification struct {
	Prefixes []string `json:"prefixes,omitempty"`
	// Invalidate is what an administrator wants to be dropped on all replicas.
	Invalidate Target `json:"invalidate,omitzero"`
	From       string `json:"from"` // instance, so that it ignores its own
}

// notifier notifies the other replicas through the shared store, and drops there what has
// changed. A lost notification costs them the time until the next poll.
type notifier struct {
	shared   *remote.Client
	instance string
	waiting  chan authz.Change
	// requests bounds how often received notifications invalidate: a client that can
	// publish could keep caches empty otherwise.
	requests *budget.Budget
}

func newNotifier(s *remote.Client, instance string) *notifier {
	return &notifier{shared: s, instance: instance, waiting: make(chan authz.Change, notifyQueue),
		requests: budget.New(time.Second, 10)}
}

// enqueue has changes sent soon. It never blocks.
func (b *notifier) enqueue(changes []authz.Change) {
	for _, c := range changes {
		select {
		case b.waiting <- c:
		default:
			return // the feed has them
		}
	}
}

// run sends until ctx ends.
func (b *notifier) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case c := <-b.waiting:
			b.send(ctx, b.gather(c))
		}
	}
}

func (b *notifier) gather(c authz.Change) []authz.Change {
	changes := []authz.Change{c}
	for len(changes) < notifyPrefixes {
		select {
		case c := <-b.waiting:
			changes = append(changes, c)
		default:
			return changes
		}
	}
	return changes
}

// send publishes first, since other replicas wait for that alone. The breaker logs a
// failure.
func (b *notifier) send(ctx context.Context, changes []authz.Change) {
	r := notification{From: b.instance}
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
	_ = b.shared.Do(ctx, remote.OpInvalidate, notifyBudget, func(ctx context.Context) error {
		if _, err := b.shared.Store.Delete(ctx, keys...); err != nil {
			return err
		}
		_, err := b.shared.Store.InvalidateTags(ctx, tags...)
		return err
	})
}

// requestInvalidation makes all replicas drop something.
func (b *notifier) requestInvalidation(ctx context.Context, t Target) error {
	return b.publish(ctx, notification{From: b.instance, Invalidate: t})
}

func (b *notifier) publish(ctx context.Context, r notification) error {
	payload, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("encoding a change notification: %w", err)
	}
	return b.shared.Do(ctx, remote.OpPublish, notifyBudget, func(ctx context.Context) error {
		return b.shared.Store.Publish(ctx, notifyChannel, payload)
	})
}

// listenForChanges receives the notifications of other replicas until ctx ends.
func (s *Service) listenForChanges(ctx context.Context) {
	err := s.shared.Store.Subscribe(ctx, notifyChannel, s.Wake, s.receive)
	if err != nil && ctx.Err() == nil {
		s.log.Error("change notifications of other replicas are not received: the feed is polled; allow Redis's user to subscribe", "error", err)
	}
}

// receive handles a notification, from any client.
func (s *Service) receive(payload []byte) {
	var r notification
	if json.Unmarshal(payload, &r) != nil {
		s.Wake()
		return
	}
	if r.From == s.instance {
		return
	}
	for _, prefix := range r.Prefixes[:min(len(r.Prefixes), notifyPrefixes)] {
		s.keys.drop(prefix)
	}
	if !r.Invalidate.isZero() && s.notifier.requests.Take(s.trust.clock.Monotonic()) {
		if dropped, name, err := s.invalidateHere(r.Invalidate); err == nil {
			s.record(Cause{Kind: CauseRequested, By: "another replica"}, name, dropped)
		}
	}
	s.Wake()
}
