package cachesvc

import (
	"context"

	"extauthz/authz"
	"extauthz/cachesvc/internal/l1"
)

// RoleScopes returns the union of the scopes of the record's roles. It takes them from
// L1, else from the scope cache (scopes.go), else from the database. L1 holds each role
// by itself, with its own version, so that an edit of a role is one change, however many
// keys have the role. A role that does not exist grants nothing. Safe for concurrent use.
// A hit in L1 does not allocate if there is one role.
func (s *Service) RoleScopes(ctx context.Context, rec *authz.Record, need authz.Need) (authz.Scopes, error) {
	scopes, _, err := s.RoleScopesFrom(ctx, rec, need)
	return scopes, err
}

// RoleScopesFrom does what RoleScopes does, and also returns the farthest layer that was
// used.
func (s *Service) RoleScopesFrom(ctx context.Context, rec *authz.Record, need authz.Need) (authz.Scopes, authz.Layer, error) {
	if scopes, ok := s.localRoleScopes(rec.Roles); ok {
		return scopes, authz.LayerLocal, nil
	}
	key, cached := s.scopeKey(rec, need)
	if cached {
		if scopes, ok := s.fetchScopes(ctx, key, rec, need); ok {
			return scopes, authz.LayerRedis, nil
		}
	}
	farthest := authz.LayerLocal
	roles := make([]*l1.Value[authz.Role], len(rec.Roles))
	for i, name := range rec.Roles {
		v, layer, err := s.roles.get(ctx, name, nil)
		if err != nil {
			return nil, authz.LayerNone, err
		}
		roles[i], farthest = v, max(farthest, layer)
	}
	scopes := unionOf(roles)
	if cached {
		s.shareScopes(key, rec, need, roles, scopes)
	}
	return scopes, farthest, nil
}

// localRoleScopes returns the union of the roles' scopes; ok is false unless L1 holds all
// of the roles.
func (s *Service) localRoleScopes(roles []string) (all authz.Scopes, ok bool) {
	now := s.trust.clock.Monotonic()
	for i, name := range roles {
		v, valid := s.roles.lookup(name, now, nil)
		if !valid {
			return nil, false
		}
		s.roles.refreshAhead(name, v, now)
		switch {
		case !v.Found:
		case i == 0:
			all = v.Data.Scopes
		default:
			all = all.Union(v.Data.Scopes)
		}
	}
	for range roles {
		s.roles.counts.localHit.Add(1)
	}
	return all, true
}

func unionOf(roles []*l1.Value[authz.Role]) (all authz.Scopes) {
	for _, v := range roles {
		if v.Found {
			all = all.Union(v.Data.Scopes)
		}
	}
	return all
}
