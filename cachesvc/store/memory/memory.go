package memory

import (
	"container/list"
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"extauthz/cachesvc/store"
)

// Config is the configuration of a [Store].
type Config struct {
	MaxEntries int              // at least 1
	Now        func() time.Time // time.Now if nil
}

// Store implements store.Store. Safe for concurrent use.
type Store struct {
	max int
	now func() time.Time

	mu           sync.Mutex
	entries      map[string]*list.Element // of *entry
	recency      *list.List               // most recently used first
	tags         map[string]map[string]struct{}
	bytes        int64
	hits, misses uint64
}

type entry struct {
	key     string
	value   []byte
	expires time.Time // zero: never
	tags    map[string]struct{}
}

var _ store.Store = (*Store)(nil)

// New makes an empty store.
func New(c Config) (*Store, error) {
	if c.MaxEntries < 1 {
		return nil, fmt.Errorf("a store of %d entries holds nothing; give it at least 1", c.MaxEntries)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return &Store{
		max: c.MaxEntries, now: c.Now,
		entries: make(map[string]*list.Element), recency: list.New(),
		tags: make(map[string]map[string]struct{}),
	}, nil
}

// Get implements store.Store.
func (s *Store) Get(ctx context.Context, key string) (value []byte, found bool, err error) {
	values, err := s.MGet(ctx, key)
	if err != nil {
		return nil, false, err
	}
	return values[0], values[0] != nil, nil
}

// MGet implements store.Store.
func (s *Store) MGet(ctx context.Context, keys ...string) ([][]byte, error) {
	if err := check(ctx, keys); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	values := make([][]byte, len(keys))
	for i, key := range keys {
		e := s.live(key)
		if e == nil {
			s.misses++
			continue
		}
		s.hits++
		s.recency.MoveToFront(s.entries[key])
		values[i] = e.value
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
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, item := range items {
		s.remove(item.Key)
		if item.TTL <= 0 {
			continue
		}
		if err := s.makeRoom(); err != nil {
			return err
		}
		e := &entry{key: item.Key, tags: make(map[string]struct{})}
		if item.TTL != store.Forever {
			e.expires = s.now().Add(item.TTL)
		}
		e.value = append([]byte{}, item.Value...) // not nil, even if empty
		s.entries[item.Key] = s.recency.PushFront(e)
		s.bytes += int64(len(e.value))
		s.tag(e, item.Tags)
	}
	return nil
}

// makeRoom evicts the least recently used entries, except those that are kept for ever.
func (s *Store) makeRoom() error {
	for element := s.recency.Back(); len(s.entries) >= s.max; {
		if element == nil {
			return fmt.Errorf("the store is full of %d entries that must be kept", len(s.entries))
		}
		e := element.Value.(*entry)
		element = element.Prev()
		if !e.expires.IsZero() {
			s.remove(e.key)
		}
	}
	return nil
}

// Delete implements store.Store.
func (s *Store) Delete(ctx context.Context, keys ...string) (int, error) {
	if err := check(ctx, keys); err != nil {
		return 0, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.removeLive(keys), nil
}

// Tag implements store.Store.
func (s *Store) Tag(ctx context.Context, key string, tags ...string) error {
	if err := check(ctx, []string{key}, tags); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.live(key); e != nil {
		s.tag(e, tags)
	}
	return nil
}

// Untag implements store.Store.
func (s *Store) Untag(ctx context.Context, tag string, keys ...string) error {
	if err := check(ctx, []string{tag}, keys); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, key := range keys {
		delete(s.tags[tag], key)
		if element, ok := s.entries[key]; ok {
			delete(element.Value.(*entry).tags, tag)
		}
	}
	if len(s.tags[tag]) == 0 {
		delete(s.tags, tag)
	}
	return nil
}

// InvalidateTags implements store.Store.
func (s *Store) InvalidateTags(ctx context.Context, tags ...string) (dropped int, err error) {
	if err := check(ctx, tags); err != nil {
		return 0, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, tag := range tags {
		var keys []string
		for key := range s.tags[tag] {
			keys = append(keys, key)
		}
		dropped += s.removeLive(keys)
	}
	return dropped, nil
}

// Tagged implements store.Store.
func (s *Store) Tagged(ctx context.Context, tag string, limit int) (keys []string, err error) {
	if err := check(ctx, []string{tag}); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for key := range s.tags[tag] {
		if len(keys) >= limit {
			break
		}
		keys = append(keys, key)
	}
	return keys, nil
}

// Count implements store.Store. It visits every entry, and drops entries that have
// expired.
func (s *Store) Count(ctx context.Context, namespace string) (n int, err error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for key := range s.entries {
		if s.live(key) != nil && strings.HasPrefix(key, namespace) {
			n++
		}
	}
	return n, nil
}

// Statistics implements store.Store.
func (s *Store) Statistics(ctx context.Context) (store.Statistics, error) {
	entries, err := s.Count(ctx, "")
	if err != nil {
		return store.Statistics{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return store.Statistics{Hits: s.hits, Misses: s.misses, Entries: entries, Bytes: s.bytes}, nil
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

// live returns the entry under key. It returns nil if there is none, or if it has
// expired.
func (s *Store) live(key string) *entry {
	element, ok := s.entries[key]
	if !ok {
		return nil
	}
	if e := element.Value.(*entry); e.expires.IsZero() || s.now().Before(e.expires) {
		return e
	}
	s.remove(key)
	return nil
}

func (s *Store) tag(e *entry, tags []string) {
	for _, tag := range tags {
		if s.tags[tag] == nil {
			s.tags[tag] = make(map[string]struct{})
		}
		s.tags[tag][e.key] = struct{}{}
		e.tags[tag] = struct{}{}
	}
}

func (s *Store) removeLive(keys []string) (n int) {
	for _, key := range keys {
		if s.live(key) != nil {
			s.remove(key)
			n++
		}
	}
	return n
}

// remove drops the entry, also from the sets of its tags, and drops sets that become
// empty.
func (s *Store) remove(key string) {
	element, ok := s.entries[key]
	if !ok {
		return
	}
	e := element.Value.(*entry)
	for tag := range e.tags {
		delete(s.tags[tag], key)
		if len(s.tags[tag]) == 0 {
			delete(s.tags, tag)
		}
	}
	s.bytes -= int64(len(e.value))
	s.recency.Remove(element)
	delete(s.entries, key)
}
