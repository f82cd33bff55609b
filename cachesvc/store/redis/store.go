package redis

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"extauthz/cachesvc/store"
)

// Config is the configuration of a [Store].
type Config struct {
	Client    goredis.UniversalClient
	Namespace string // comes before every key, tag and channel: "cache:apikeys:"
	// TagTTL is how long the set of a tag lives after an item was last added to it. It
	// must be longer than the lifetime of any item.
	TagTTL time.Duration
}

// Store implements store.Store and offers what else Redis can do. Safe for concurrent
// use.
type Store struct {
	client    goredis.UniversalClient
	namespace string
	tagTTL    time.Duration

	hits, misses, errors atomic.Uint64
}

var _ store.Store = (*Store)(nil)

const (
	tagKeys     = "tag:" // followed by a tag: the set of the tag's keys
	popAtOnce   = 500
	scanAtOnce  = 1000
	unknownSize = -1
)

// New returns a store on a client, which the caller still owns and closes.
func New(c Config) (*Store, error) {
	if c.Client == nil || c.TagTTL <= 0 {
		return nil, errors.New("a store in Redis needs a client and a lifetime of tags")
	}
	if err := store.CheckName(c.Namespace); err != nil {
		return nil, fmt.Errorf("name space %q: %w", c.Namespace, err)
	}
	return &Store{client: c.Client, namespace: c.Namespace, tagTTL: c.TagTTL}, nil
}

func (s *Store) key(key string) string { return s.namespace + key }
func (s *Store) tag(tag string) string { return s.namespace + tagKeys + tag }

// failed counts an error, and adds the name of the operation to it.
func (s *Store) failed(what string, err error) error {
	s.errors.Add(1)
	return fmt.Errorf("redis: %s: %w", what, err)
}

func check(ctx context.Context, names ...[]string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	for _, list := range names {
		for _, name := range list {
			if err := store.CheckName(name); err != nil {
				return err
			}
		}
	}
	return nil
}

// Get implements store.Store.
func (s *Store) Get(ctx context.Context, key string) (value []byte, found bool, err error) {
	if err := check(ctx, []string{key}); err != nil {
		return nil, false, err
	}
	value, err = s.client.Get(ctx, s.key(key)).Bytes()
	switch {
	case errors.Is(err, goredis.Nil):
		s.misses.Add(1)
		return nil, false, nil
	case err != nil:
		return nil, false, s.failed("get", err)
	}
	s.hits.Add(1)
	return value, true, nil
}

// MGet implements store.Store.
func (s *Store) MGet(ctx context.Context, keys ...string) ([][]byte, error) {
	if err := check(ctx, keys); err != nil {
		return nil, err
	}
	values := make([][]byte, len(keys))
	if len(keys) == 0 {
		return values, nil
	}
	pipe := s.client.Pipeline()
	answers := make([]*goredis.StringCmd, len(keys))
	for i, key := range keys {
		answers[i] = pipe.Get(ctx, s.key(key))
	}
	_, _ = pipe.Exec(ctx) // each answer has its own error
	for i, answer := range answers {
		value, err := answer.Bytes()
		switch {
		case errors.Is(err, goredis.Nil):
			s.misses.Add(1)
		case err != nil:
			return nil, s.failed("mget", err)
		default:
			s.hits.Add(1)
			values[i] = value
		}
	}
	return values, nil
}

// Set implements store.Store.
func (s *Store) Set(ctx context.Context, item store.Item) error { return s.MSet(ctx, item) }

// MSet implements store.Store.
func (s *Store) MSet(ctx context.Context, items ...store.Item) error {
	for _, item := range items {
		if err := check(ctx, []string{item.Key}, item.Tags); err != nil {
			return err
		}
	}
	pipe := s.client.Pipeline()
	for _, item := range items {
		switch {
		case item.TTL <= 0:
			pipe.Unlink(ctx, s.key(item.Key))
			continue
		case item.TTL == store.Forever:
			pipe.Set(ctx, s.key(item.Key), item.Value, 0)
		default:
			pipe.Set(ctx, s.key(item.Key), item.Value, max(item.TTL, time.Millisecond))
		}
		for _, tag := range item.Tags {
			s.addTag(ctx, pipe, item.Key, tag, item.TTL == store.Forever)
		}
	}
	return s.exec(ctx, pipe, "set")
}

func (s *Store) addTag(ctx context.Context, pipe goredis.Pipeliner, key, tag string, forever bool) {
	pipe.SAdd(ctx, s.tag(tag), key)
	if forever {
		pipe.Persist(ctx, s.tag(tag))
	} else {
		pipe.PExpire(ctx, s.tag(tag), s.tagTTL)
	}
}

// exec runs a pipeline of which only the first error is of interest.
func (s *Store) exec(ctx context.Context, pipe goredis.Pipeliner, what string) error {
	if pipe.Len() == 0 {
		return nil
	}
	commands, err := pipe.Exec(ctx)
	for _, c := range commands {
		if err == nil {
			err = c.Err()
		}
	}
	if err != nil {
		return s.failed(what, err)
	}
	return nil
}

// Delete implements store.Store.
func (s *Store) Delete(ctx context.Context, keys ...string) (int, error) {
	if err := check(ctx, keys); err != nil {
		return 0, err
	}
	return s.unlink(ctx, keys)
}

func (s *Store) unlink(ctx context.Context, keys []string) (n int, err error) {
	if len(keys) == 0 {
		return 0, nil
	}
	pipe := s.client.Pipeline()
	answers := make([]*goredis.IntCmd, len(keys))
	for i, key := range keys {
		answers[i] = pipe.Unlink(ctx, s.key(key))
	}
	err = s.exec(ctx, pipe, "delete")
	for _, answer := range answers {
		n += int(answer.Val())
	}
	return n, err
}

// Tag implements store.Store.
func (s *Store) Tag(ctx context.Context, key string, tags ...string) error {
	if err := check(ctx, []string{key}, tags); err != nil {
		return err
	}
	left, err := s.client.PTTL(ctx, s.key(key)).Result()
	switch {
	case err != nil:
		return s.failed("tag", err)
	case left == -2: // not there
		return nil
	}
	pipe := s.client.Pipeline()
	for _, tag := range tags {
		s.addTag(ctx, pipe, key, tag, left == -1)
	}
	return s.exec(ctx, pipe, "tag")
}

// Untag implements store.Store.
func (s *Store) Untag(ctx context.Context, tag string, keys ...string) error {
	if err := check(ctx, []string{tag}, keys); err != nil || len(keys) == 0 {
		return err
	}
	members := make([]any, len(keys))
	for i, key := range keys {
		members[i] = key
	}
	if err := s.client.SRem(ctx, s.tag(tag), members...).Err(); err != nil {
		return s.failed("untag", err)
	}
	return nil
}

// InvalidateTags implements store.Store. Entries are removed before their names are
// removed from the tag, so that after any error the same call finds what is left.
func (s *Store) InvalidateTags(ctx context.Context, tags ...string) (dropped int, err error) {
	if err := check(ctx, tags); err != nil {
		return 0, err
	}
	for _, tag := range tags {
		for {
			keys, err := s.client.SRandMemberN(ctx, s.tag(tag), popAtOnce).Result()
			if err != nil {
				return dropped, s.failed("invalidate", err)
			}
			n, err := s.unlink(ctx, keys)
			if dropped += n; err != nil {
				return dropped, err
			}
			if err := s.Untag(ctx, tag, keys...); err != nil {
				return dropped, err
			}
			if len(keys) < popAtOnce {
				break
			}
		}
	}
	return dropped, nil
}

// Tagged implements store.Store.
func (s *Store) Tagged(ctx context.Context, tag string, limit int) ([]string, error) {
	if err := check(ctx, []string{tag}); err != nil || limit <= 0 {
		return nil, err
	}
	keys, err := s.client.SRandMemberN(ctx, s.tag(tag), int64(limit)).Result()
	if err != nil {
		return nil, s.failed("tagged", err)
	}
	return keys, nil
}

// Count implements store.Store. It scans all keys of all nodes in steps, so that other
// clients need not wait, and may take long.
func (s *Store) Count(ctx context.Context, namespace string) (int, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	var n atomic.Int64
	err := s.eachNode(ctx, func(ctx context.Context, node goredis.Cmdable) error {
		for cursor := uint64(0); ; {
			// Names hold no character that is special in a pattern.
			keys, next, err := node.Scan(ctx, cursor, s.key(namespace)+"*", scanAtOnce).Result()
			if err != nil {
				return err
			}
			n.Add(int64(len(keys)))
			if cursor = next; cursor == 0 {
				return nil
			}
		}
	})
	if err != nil {
		return 0, s.failed("count", err)
	}
	return int(n.Load()), nil
}

// eachNode calls f for all nodes that hold keys, at the same time.
func (s *Store) eachNode(ctx context.Context, f func(context.Context, goredis.Cmdable) error) error {
	if cluster, ok := s.client.(*goredis.ClusterClient); ok {
		return cluster.ForEachMaster(ctx, func(ctx context.Context, node *goredis.Client) error { return f(ctx, node) })
	}
	return f(ctx, s.client)
}

// Statistics implements store.Store.
func (s *Store) Statistics(ctx context.Context) (store.Statistics, error) {
	entries, err := s.Count(ctx, "")
	return store.Statistics{Hits: s.hits.Load(), Misses: s.misses.Load(), Errors: s.errors.Load(), Entries: entries, Bytes: unknownSize}, err
}
