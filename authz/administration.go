package authz

import (
	"slices"
	"strings"
)

// Administration holds the keys that manage keys: every active key that has a scope on
// the reserved resource, of its own or from a role, and the roles that lend such a scope.
// Keys whose row can't be read are left out, since they are refused everywhere.
type Administration struct {
	Keys  []NewKey
	Roles []Role
}

// Administers reports whether one of the scopes is on the reserved resource or below it.
func (s Scopes) Administers() bool {
	return slices.ContainsFunc(s, func(scope Scope) bool {
		return scope.Resource == ReservedResource || strings.HasPrefix(scope.Resource, ReservedResource+"/")
	})
}

// Rights returns the scopes of a key, its own and those of its roles. Roles that
// are not among a.Roles lend nothing.
func (a Administration) Rights(rec *Record) Scopes {
	rights := rec.Scopes
	for _, role := range a.Roles {
		if slices.Contains(rec.Roles, role.Name) {
			rights = rights.Union(role.Scopes)
		}
	}
	return rights
}

// After returns the administration that would result from m. a itself is not changed.
func (a Administration) After(m *Mutation) Administration {
	next := Administration{Keys: slices.Concat(a.Keys, m.Create)}
	for _, rec := range m.Update {
		i := slices.IndexFunc(next.Keys, func(k NewKey) bool { return k.Record.ID == rec.ID })
		if i >= 0 {
			next.Keys[i].Record = rec
		}
	}
	for _, role := range a.Roles {
		replaced := slices.ContainsFunc(m.PutRoles, func(r Role) bool { return r.Name == role.Name })
		if !replaced && !slices.Contains(m.DeleteRoles, role.Name) {
			next.Roles = append(next.Roles, role)
		}
	}
	next.Roles = append(next.Roles, m.PutRoles...)
	return next
}
