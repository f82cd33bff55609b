package cachesvc

import (
	"context"
	"encoding/json"
	"fmt"

	"extauthz/authz"
	"extauthz/cachesvc/store"
)

// userListKeys is the name space of lists in the store.
const userListKeys = "apikey:user:"

// userList is a list as it is stored. The stamp is this process's own, so the
// store must be too.
type userList struct {
	Seq        uint64         `json:"seq"`
	Generation uint64         `json:"generation"`
	Keys       []authz.Record `json:"keys"`
}

// UserKeys returns all keys of a user, from the cache or by load. The list is
// dropped by any change of one of the user's keys, and not used without a
// lease. A store that fails is logged and counts as a miss; the error is load's.
func (s *Service) UserKeys(ctx context.Context, user string, load func(context.Context) ([]authz.Record, error)) ([]authz.Record, error) {
	key := userListKeys + store.Identifier(user)
	if list, ok := s.cachedUserList(ctx, user, key); ok {
		return list, nil
	}
	list := userList{}
	list.Seq, list.Generation = s.trust.recent.begin()
	var err error
	if list.Keys, err = load(ctx); err != nil {
		return nil, err
	}
	if err := s.keepUserList(ctx, user, key, list); err != nil {
		s.log.Warn("the list of a user's keys could not be cached", "error", err)
	}
	return list.Keys, nil
}

func (s *Service) cachedUserList(ctx context.Context, user, key string) ([]authz.Record, bool) {
	if !s.trust.lease.holds(s.trust.clock.monotonic()) {
		return nil, false
	}
	data, found, err := s.lists.Get(ctx, key)
	if err == nil && !found {
		return nil, false
	}
	var list userList
	if err == nil {
		err = json.Unmarshal(data, &list)
	}
	if err != nil {
		s.log.Warn("a cached list of a user's keys could not be read; the database is asked", "error", err)
		return nil, false
	}
	// As an absence: stale if anything was learned of this user since.
	read := &stamp{seq: list.Seq, generation: list.Generation}
	return list.Keys, s.trust.fresh(topic{subjectUser, user}, read)
}

func (s *Service) keepUserList(ctx context.Context, user, key string, list userList) error {
	data, err := json.Marshal(list)
	if err != nil {
		return fmt.Errorf("encoding: %w", err)
	}
	return s.lists.Set(ctx, store.Item{
		Key: key, Value: data, TTL: jittered(s.userListTTL, s.keys.jitter()),
		Tags: []string{tagUserList, tagUser + store.Identifier(user)},
	})
}

// tagUserList is on every list, so that all can be dropped.
const tagUserList = "apikey-users"

func (s *Service) dropUserList(user string) int { return s.dropLists(tagUser + store.Identifier(user)) }
func (s *Service) dropUserLists() int           { return s.dropLists(tagUserList) }

// dropLists makes room; staleness does not rest on it.
func (s *Service) dropLists(tag string) int {
	dropped, err := s.lists.InvalidateTags(context.Background(), tag)
	if err != nil {
		s.log.Warn("cached lists of users' keys could not be dropped; they are not used any more", "error", err)
	}
	return dropped
}
