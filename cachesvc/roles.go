package cachesvc

import (
	"context"

	"extauthz/authz"
)

// RoleScopes returns the scopes of all these roles together. Roles are cached
// each by itself, with its own version, so one edit of a role is one change,
// however many keys carry it. A role that does not exist grants nothing. Safe
// for concurrent use; with one role, a hit does not allocate.
func (s *Service) RoleScopes(ctx context.Context, roles []string) (authz.Scopes, error) {
	var all authz.Scopes
	for i, name := range roles {
		v, _, err := s.roles.get(ctx, name)
		switch {
		case err != nil:
			return nil, err
		case !v.found:
		case i == 0:
			all = v.data.Scopes
		default:
			all = all.Union(v.data.Scopes)
		}
	}
	return all, nil
}

// loadRole is one look-up in the database.
func loadRole(db Roles) func(context.Context, string) (authz.Role, uint64, error) {
	return func(ctx context.Context, name string) (authz.Role, uint64, error) {
		roles, err := db.Roles(ctx, []string{name})
		switch {
		case err != nil:
			return authz.Role{}, 0, err
		case len(roles) == 0:
			return authz.Role{}, 0, authz.ErrNotFound
		}
		return roles[0], roles[0].Version, nil
	}
}
