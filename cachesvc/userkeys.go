package cachesvc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"extauthz/authz"
	"extauthz/cachesvc/internal/remote"
	"extauthz/cachesvc/store"
)

const (
	// userListKeys is the name space of lists in the store.
	userListKeys = "apikey:user:"
	// userListLimit is the length of the longest list that is cached.
	userListLimit = 1000
)

// userList is a list of a user's keys as it is stored, in the process or in the shared
// store. Lists are shown to people; no decision depends on them.
type userList struct {
	Keys     []*sharedKey `json:"keys"`
	Position uint64       `json:"place"` // feed position before the list was read
	source
}

// UserKeys returns all keys of a user, newest first. It takes them from the cache, or
// else calls load. A cached list is used only under a fresh lease, and no longer once any
// of the user's keys has changed. A store that fails counts as a miss; an error is always
// load's.
func (s *Service) UserKeys(ctx context.Context, user string, load func(context.Context) ([]authz.Record, error)) ([]authz.Record, error) {
	key := userListKeys + store.Identifier(user)
	if list, ok := s.cachedUserList(ctx, user, key); ok {
		s.listCounts.localHit.Add(1)
		return list, nil
	}
	s.listCounts.localMiss.Add(1)
	list := userList{}
	asOf := s.trust.clock.Monotonic()
	list.Epoch, list.Position = s.feedPosition()
	list.AsOf = s.trust.clock.DatabaseTime(asOf)
	_, generation := s.trust.window.Begin()
	records, err := load(ctx)
	if err != nil {
		return nil, err
	}
	if len(records) <= userListLimit && s.trust.lease.Fresh(asOf) && s.trust.window.SameGeneration(generation) {
		for i := range records {
			list.Keys = append(list.Keys, newSharedKey(&records[i], source{}))
		}
		s.keepUserList(ctx, user, key, &list)
	}
	return records, nil
}

func (s *Service) cachedUserList(ctx context.Context, user, key string) ([]authz.Record, bool) {
	if !s.trust.lease.Fresh(s.trust.clock.Monotonic()) {
		return nil, false
	}
	epoch, _ := s.feedPosition()
	var data []byte
	var found bool
	err := s.onLists(ctx, remote.OpGet, func(ctx context.Context, lists store.Store) (err error) {
		data, found, err = lists.Get(ctx, key)
		return err
	})
	if err != nil || !found {
		return nil, false
	}
	var list userList
	if err := json.Unmarshal(data, &list); err != nil {
		s.log.Warn("a cached list of a user's keys could not be read; the database is asked", "error", err)
		return nil, false
	}
	asOf, now := s.trust.readAt(list.AsOf), s.trust.clock.Monotonic()
	if list.Epoch != epoch || now >= asOf+s.userListTTL || s.trust.window.ListStale(user, list.Position, asOf) {
		return nil, false
	}
	records := make([]authz.Record, len(list.Keys))
	for i, k := range list.Keys {
		records[i] = k.record()
	}
	return records, true
}

func (s *Service) keepUserList(ctx context.Context, user, key string, list *userList) {
	data, err := json.Marshal(list)
	if err == nil {
		err = s.onLists(ctx, remote.OpSet, func(ctx context.Context, lists store.Store) error {
			return lists.Set(ctx, store.Item{
				Key: key, Value: data, TTL: jittered(s.userListTTL, s.keys.jitter()),
				Tags: []string{tagUserList, tagUser + store.Identifier(user)},
			})
		})
	}
	if err != nil && !errors.Is(err, remote.ErrStore) && !errors.Is(err, remote.ErrBreakerOpen) { // the breaker logs those
		s.log.Warn("the list of a user's keys could not be cached", "error", err)
	}
}

// onLists calls the store that holds the lists: the shared store, or else the one in
// process.
func (s *Service) onLists(ctx context.Context, op string, call func(context.Context, store.Store) error) error {
	if s.shared == nil {
		return call(ctx, s.lists)
	}
	return s.shared.Do(ctx, op, s.shared.Budget, func(ctx context.Context) error { return call(ctx, s.shared.Store) })
}

// tagUserList is on every list, so that all can be dropped.
const tagUserList = "apikey-users"

// dropUserList drops the list in this process. This only frees memory: a stale list is
// never used. The list in the shared store is dropped with the notification (notify.go).
func (s *Service) dropUserList(user string) int { return s.dropLists(tagUser + store.Identifier(user)) }
func (s *Service) dropUserLists() int           { return s.dropLists(tagUserList) }

func (s *Service) dropLists(tag string) int {
	dropped, err := s.lists.InvalidateTags(context.Background(), tag)
	if err != nil { // the store in process does not fail
		s.log.Warn("cached lists of users' keys could not be dropped; they are not used any more", "error", fmt.Errorf("tag %s: %w", tag, err))
	}
	return dropped
}

// feedPosition returns the feed position and its epoch, which is "" before the first
// read.
func (s *Service) feedPosition() (epoch string, position uint64) {
	s.feed.mu.Lock()
	defer s.feed.mu.Unlock()
	return s.feed.epoch, s.feed.cursor.Seen.Below()
}

func (s *Service) epoch() string {
	epoch, _ := s.feedPosition()
	return epoch
}
