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
	notifyPrefixes = 100             // prefixes in one notification, at most
	notifyQueue    = 1024            // changes that may wait to be sent
	notifyBudget   = 2 * time.Second // for one call, which no check waits for
)

// notification is the message between replicas: it names the prefixes of keys that have
// changed. It is a hint: a replica that receives one drops these keys and reads the feed.
// No decision depends on it, since any client of the shared store may be able to publish.
type notification struct {
	Prefixes []string `json:"prefixes,omitempty"`
	// Invalidate is what all replicas drop at an administrator's request.
	Invalidate Target `json:"invalidate,omitzero"`
	From       string `json:"from"` // the sender's instance, so that a replica ignores its own notifications
}

// notifier notifies the other replicas through the shared store, and drops changed
// values there. A lost notification costs them the time until the next poll.
type notifier struct {
	shared   *remote.Client
	instance string
	waiting  chan authz.Change
	// requests limits how often received notifications may invalidate. Otherwise a client
	// that can publish could keep caches empty.
	requests *budget.Budget
}

func newNotifier(s *remote.Client, instance string) *notifier {
	return &notifier{shared: s, instance: instance, waiting: make(chan authz.Change, notifyQueue),
		requests: budget.New(time.Second, 10)}
}

// enqueue queues changes to be sent. It never blocks.
func (n *notifier) enqueue(changes []authz.Change) {
	for _, c := range changes {
		select {
		case n.waiting <- c:
		default:
			return // the queue is full; other replicas find the rest in the feed
		}
	}
}

// run sends queued changes until ctx ends.
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

// send publishes a notification first, since other replicas wait for that alone. Then it
// drops the values from the shared store. The breaker logs a failure.
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

// requestInvalidation makes all other replicas drop what t names.
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

// receive handles a notification. Any client of the shared store may have sent it.
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
