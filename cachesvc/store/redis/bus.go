package redis

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"extauthz/cachesvc/store"
)

const (
	subscribePause = 500 * time.Millisecond // before a subscription is tried again
	subscribeQuiet = 3 * time.Second        // after this time without a message the connection is tested by a ping
	subscribeReply = 2 * time.Second        // time for the answer to that ping
)

// Publish sends payload to all present subscribers of the channel.
func (s *Store) Publish(ctx context.Context, channel string, payload []byte) error {
	if err := check(ctx, []string{channel}); err != nil {
		return err
	}
	if err := s.client.Publish(ctx, s.key(channel), payload).Err(); err != nil {
		return s.failed("publish", err)
	}
	return nil
}

// Subscribe calls receive with each payload until ctx ends; then it returns nil. It calls
// connected whenever a subscription begins, since earlier messages were not received. It
// replaces a connection that is lost or does not answer. An error means that the
// channel's name is not valid.
func (s *Store) Subscribe(ctx context.Context, channel string, connected func(), receive func(payload []byte)) error {
	if err := store.CheckName(channel); err != nil {
		return err
	}
	for ctx.Err() == nil {
		_ = s.subscribeOnce(ctx, channel, connected, receive) // other calls of the store report that Redis is away
		select {
		case <-ctx.Done():
		case <-time.After(subscribePause):
		}
	}
	return nil
}

func (s *Store) subscribeOnce(ctx context.Context, channel string, connected func(), receive func([]byte)) error {
	subscription := s.client.Subscribe(ctx, s.key(channel))
	defer func() { _ = subscription.Close() }()
	for asked := false; ; {
		wait := subscribeQuiet
		if asked {
			wait = subscribeReply
		}
		message, err := subscription.ReceiveTimeout(ctx, wait)
		if err != nil {
			var timeout net.Error
			if ctx.Err() != nil || asked || !errors.As(err, &timeout) || !timeout.Timeout() {
				return err
			}
			if err := subscription.Ping(ctx); err != nil {
				return err
			}
			asked = true
			continue
		}
		asked = false
		switch m := message.(type) {
		case *goredis.Subscription:
			connected()
		case *goredis.Message:
			receive([]byte(m.Payload))
		case *goredis.Pong:
		default:
			return fmt.Errorf("redis: a subscription brought %T", m)
		}
	}
}
