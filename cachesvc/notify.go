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

// notification is what is published: the prefixes of keys that have changed. It is a
// hint. A replica that receives it drops them and reads the feed, and bases no decision
// on it: any client of the shared store may be able to publish.
type notification struct {
	Prefixes []string `json:"prefixes,omitempty"`
	// Invalidate is what an administrator wants to be dropped on all replicas.
	Invalidate Target `json:"invalidate,omitzero"`
	From       string `json:"from"` // instance, so that it ignores its own
}

// notifier notifies the other replicas through the shared store, and drops changed
// values there. A lost notification costs them the time until the next poll.
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
func (n *notifier) enqueue(changes []authz.Change) {
	for _, c := range changes {
		select {
		case n.waiting <- c:
		default:
			return // the feed has them
		}
	}
}

// run sends until ctx ends.
func (n *notifier) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case c := <-n.waiting:
			n.send(ctx, n.gather(c))
		}
	}
}

func (n *notifier) gather(c authz.Change) []authz.Change {
	changes := []authz.Change{c}
	for len(changes) < notifyPrefixes {
		select {
		case c := <-n.waiting:
			changes = append(changes, c)
		default:
			return changes
		}
	}
	return changes
}

// send publishes first, since other replicas wait for that alone. The breaker logs a
// failure.
func (n *notifier) send(ctx context.Context, changes []authz.Change) {
	m := notification{From: n.instance}
	var keys, tags []string
	for _, c := range changes {
		if c.Prefix == "" {
			continue
		}
		m.Prefixes = append(m.Prefixes, c.Prefix)
		keys = append(keys, validationKeys+c.Prefix)
		if c.UserID != "" {
			keys = append(keys, userListKeys+store.Identifier(c.UserID))
		}
		if c.KeyID != "" {
			tags = append(tags, tagKey+store.Identifier(c.KeyID))
		}
	}
	_ = n.publish(ctx, m)
	if len(keys) == 0 {
		return
	}
	_ = n.shared.Do(ctx, remote.OpInvalidate, notifyBudget, func(ctx context.Context) error {
		if _, err := n.shared.Store.Delete(ctx, keys...); err != nil {
			return err
		}
		_, err := n.shared.Store.InvalidateTags(ctx, tags...)
		return err
	})
}

// requestInvalidation makes all replicas drop something.
func (n *notifier) requestInvalidation(ctx context.Context, t Target) error {
	return n.publish(ctx, notification{From: n.instance, Invalidate: t})
}

func (n *notifier) publish(ctx context.Context, m notification) error {
	payload, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("encoding a change notification: %w", err)
	}
	return n.shared.Do(ctx, remote.OpPublish, notifyBudget, func(ctx context.Context) error {
		return n.shared.Store.Publish(ctx, notifyChannel, payload)
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
	var m notification
	if json.Unmarshal(payload, &m) != nil {
		s.Wake()
		return
	}
	if m.From == s.instance {
		return
	}
	for _, prefix := range m.Prefixes[:min(len(m.Prefixes), notifyPrefixes)] {
		s.keys.drop(prefix)
	}
	if !m.Invalidate.isZero() && s.notifier.requests.Take(s.trust.clock.Monotonic()) {
		if dropped, name, err := s.invalidateHere(m.Invalidate); err == nil {
			s.record(Cause{Kind: CauseRequested, By: "another replica"}, name, dropped)
		}
	}
	s.Wake()
}
