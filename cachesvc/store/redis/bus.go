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
	subscribeQuiet = 3 * time.Second        // without a message, after which the connection is asked whether it lives
	subscribeReply = 2 * time.Second        // and has so long to say so
)

// Publish sends payload to all who are subscribed to the channel just now.
func (s *Store) Publish(ctx context.Context, channel string, payload []byte) error {
	if err := check(ctx, []string{channel}); err != nil {
		return err
	}
	if err := s.client.Publish(ctx, s.key(channel), payload).Err(); err != nil {
		return s.failed("publish", err)
	}
	return nil
}

// Subscribe calls connected whenever a subscription begins, since messages that came
// before were not received, and receive with each payload. A connection that is lost, or
// that nothing answers on, is made anew, until ctx ends; then it returns nil.
func (s *Store) Subscribe(ctx context.Context, channel string, connected func(), receive func(payload []byte)) error {
	if err := store.CheckName(channel); err != nil {
		return err
	}
	for ctx.Err() == nil {
		_ = s.subscribeOnce(ctx, channel, connected, receive) // calls of the store report that Redis is away
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
