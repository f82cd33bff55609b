package authz

import (
	"slices"
	"strings"
)

// Administration is the state of the keys that manage keys: every active key that holds a scope on the
// reserved resource, itself or by a role, and the roles that lend one. Keys whose row
// can't be read are left out: they are refused everywhere.
type Administration struct {
	Keys  []NewKey
	Roles []Role
}

// Administers reports whether scopes reach into the reserved resource.
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

// After returns the administration as m would leave it. a stays as it is.
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
