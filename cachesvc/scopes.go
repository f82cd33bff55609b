package cachesvc

import (
	"context"
	"maps"
	"slices"
	"strings"

	"extauthz/authz"
	"extauthz/cachesvc/internal/freshness"
	"extauthz/cachesvc/internal/l1"
	"extauthz/cachesvc/internal/remote"
	"extauthz/cachesvc/seal"
	"extauthz/cachesvc/store"
)

const (
	// scopeKeys is the name space of the scope cache: what a key's roles allow, under
	// apikey:scope:<key id>:<resource>:<action>. The scope cache is read if L1 lacks one
	// of the roles, and holds denials too. Like every value that decisions rest on, an
	// answer is trusted only if it is sealed.
	scopeKeys = "apikey:scope:"

	// scopeLimit is how many answers are kept for one key. Without it a client could add
	// any number, since the default mapping takes the resource from the path.
	scopeLimit = 1000
)

// sharedScopes is an answer in the shared store. It holds the versions of the key and the
// roles that it was made from, and is a miss as soon as a newer version of one of them is
// known.
type sharedScopes struct {
	KeyID    string            `json:"key_id"`
	Resource string            `json:"resource"`
	Action   string            `json:"action"`
	Allowed  bool              `json:"allowed"` // whether the roles allow it; the key's own scopes are tested on its record
	Scopes   authz.Scopes      `json:"scopes"`
	Version  uint64            `json:"version"` // version of the key
	Roles    map[string]uint64 `json:"roles"`   // versions of the roles; 0 for a role that does not exist
	source
	seal.Sealed
}

// scopeKey returns the key of an answer. It returns false if the scope cache is not used:
// the shared store is not trusted, no lease is fresh, no scope is needed, or the resource
// contains a value of the request, so that there may be any number of resources.
func (s *Service) scopeKey(rec *authz.Record, need authz.Need) (string, bool) {
	if s.shared == nil || need.Resource == "" || need.Captured || len(*s.sealing.Load()) == 0 || !s.trust.lease.Fresh(s.trust.clock.Monotonic()) {
		return "", false
	}
	return scopeKeys + store.Identifier(rec.ID) + ":" + store.Identifier(need.Resource) + ":" + store.Identifier(need.Action), true
}

// fetchScopes reads an answer from the scope cache. It returns false if there is none
// that may be used.
func (s *Service) fetchScopes(ctx context.Context, key string, rec *authz.Record, need authz.Need) (authz.Scopes, bool) {
	epoch := s.epoch()
	_, generation := s.trust.window.Begin()
	data, found, err := s.shared.Get(ctx, key)
	if err != nil || !found {
		s.sharedCounts.scopeMisses.Add(1)
		return nil, false
	}
	var v sharedScopes
	if _, err := seal.Open(*s.sealing.Load(), key, data, &v, &v.Sealed); err != nil {
		s.sharedCounts.scopeMisses.Add(1)
		s.recordRefusal("scope", rec.ID, err)
		return nil, false
	}
	if v.Epoch != epoch || !v.answers(rec, need) || !s.scopesFresh(&v, generation) {
		s.sharedCounts.scopeMisses.Add(1)
		return nil, false
	}
	s.sharedCounts.scopeHits.Add(1)
	return v.Scopes, true
}

// answers reports whether the cached answer is for this need and this version of the key.
func (v *sharedScopes) answers(rec *authz.Record, need authz.Need) bool {
	return v.KeyID == rec.ID && v.Version == rec.Version && v.Resource == need.Resource && v.Action == need.Action &&
		v.Allowed == v.Scopes.Allows(need.Resource, need.Action) &&
		slices.Equal(slices.Sorted(maps.Keys(v.Roles)), slices.Compact(slices.Sorted(slices.Values(rec.Roles))))
}

// scopesFresh reports whether the answer may be used: its lifetime is not over, a lease
// is fresh, and nothing newer is known about any of the roles.
func (s *Service) scopesFresh(v *sharedScopes, generation uint64) bool {
	asOf, now := s.trust.readAt(v.AsOf), s.trust.clock.Monotonic()
	if now >= asOf+s.scopeTTL || !s.trust.lease.Fresh(now) {
		return false
	}
	for name, version := range v.Roles {
		st := &freshness.Stamp{Found: true, Shared: true, Version: version, Generation: generation, AsOf: asOf}
		if !s.trust.fresh(freshness.Topic{Subject: freshness.SubjectRole, ID: name}, st) {
			return false
		}
	}
	return true
}

// shareScopes writes an answer in the background.
func (s *Service) shareScopes(key string, rec *authz.Record, need authz.Need, roles []*l1.Value[authz.Role], scopes authz.Scopes) {
	v := &sharedScopes{KeyID: rec.ID, Resource: need.Resource, Action: need.Action, Allowed: scopes.Allows(need.Resource, need.Action),
		Scopes: scopes, Version: rec.Version, Roles: make(map[string]uint64, len(roles))}
	asOf := s.trust.clock.Monotonic()
	for i, role := range roles {
		if !s.trust.window.SameGeneration(role.Generation) {
			return
		}
		v.Roles[rec.Roles[i]] = role.Version
		asOf = min(asOf, role.AsOf)
	}
	v.Epoch, v.AsOf = s.epoch(), s.trust.clock.DatabaseTime(asOf).UTC()
	ttl := jittered(s.scopeTTL, s.keys.jitter()) - (s.trust.clock.Monotonic() - asOf)
	if v.Epoch == "" || ttl <= 0 {
		return
	}
	data, err := seal.Seal(*s.sealing.Load(), key, v, &v.Sealed, nil)
	if err != nil {
		s.log.Warn("a scope decision can't be written to Redis", "error", err)
		return
	}
	s.shared.WriteLater(store.Item{Key: key, Value: data, TTL: ttl,
		Tags: []string{tagScopes, tagUser + store.Identifier(rec.UserID), tagKey + store.Identifier(rec.ID)}})
}

// underLimit leaves out answers for keys that have reached scopeLimit, and returns the
// other items. It calls the shared store, in the background.
func (s *Service) underLimit(ctx context.Context, items []store.Item) []store.Item {
	return slices.DeleteFunc(items, func(item store.Item) bool {
		if !strings.HasPrefix(item.Key, scopeKeys) {
			return false
		}
		tag := item.Tags[len(item.Tags)-1]
		var there []string
		err := s.shared.Do(ctx, remote.OpCount, remote.BackgroundBudget, func(ctx context.Context) (err error) {
			there, err = s.shared.Store.Tagged(ctx, tag, scopeLimit)
			return err
		})
		return err != nil || len(there) >= scopeLimit
	})
}
