package authz

import (
	"net/netip"
	"slices"
	"time"
)

// Administrator is an identity that manages keys. It is authenticated by a rotation family
// of keys, which carry no rights over keys themselves. No check reads an administrator.
type Administrator struct {
	ID          string // UUIDv7; never used again
	Name        string // unique; it may change
	Description string
	Roles       []string       // names of management roles, sorted
	Grants      Grants         // what it may put on keys
	Networks    []netip.Prefix // none: every network
	ExpiresAt   time.Time      // zero: never
	Active      bool           // false: disabled
	Family      string         // rotation family of its keys; empty: it has none
	CreatedBy   string         // id of the administrator that made it, or the part of the system that did
	CreatedAt   time.Time
	UpdatedAt   time.Time
	Version     uint64 // each change adds 1; a new one begins where none of its name has been

	// Unreadable describes what is wrong with a row that can't be read: someone wrote it by
	// hand. It can be ended, and may do nothing.
	Unreadable string
}

// Status returns the administrator's state at now; it is never StatusRevoked, since one
// that is removed is not there any more.
func (a *Administrator) Status(now time.Time) Status {
	switch {
	case !a.Active:
		return StatusDisabled
	case !a.ExpiresAt.IsZero() && !now.Before(a.ExpiresAt):
		return StatusExpired
	default:
		return StatusActive
	}
}

// AdministratorRole is a named set of permissions that administrators share. Permissions
// are scopes on the reserved resource and below it.
type AdministratorRole struct {
	Name        string
	Description string
	Permissions Scopes
	CreatedAt   time.Time
	UpdatedAt   time.Time
	Version     uint64 // as of an Administrator; 0: the role is built in
	// Unreadable is as in Administrator; such a role lends nothing.
	Unreadable string
}

// Administration is everything that rights over keys rest on: all administrators, the
// roles that are not built in, and every key of the administrators' families, ended ones
// and unreadable ones too.
type Administration struct {
	Administrators []Administrator
	Roles          []AdministratorRole
	Keys           []NewKey
}

// AdministrationChange is what one call changes of an administration, in one transaction.
type AdministrationChange struct {
	Put         []Administrator // new ones, and changed ones by id
	Delete      []string        // ids
	PutRoles    []AdministratorRole
	DeleteRoles []string // names
	CreateKeys  []NewKey
	UpdateKeys  []Record // by id
	Audit       []AuditEntry
}

// Empty reports whether nothing is changed.
func (c *AdministrationChange) Empty() bool {
	return len(c.Put)+len(c.Delete)+len(c.PutRoles)+len(c.DeleteRoles)+len(c.CreateKeys)+len(c.UpdateKeys)+len(c.Audit) == 0
}

// After returns the administration that would result from c. a itself is not changed.
func (a Administration) After(c *AdministrationChange) Administration {
	next := Administration{Keys: slices.Concat(a.Keys, c.CreateKeys)}
	next.Administrators = replaced(a.Administrators, c.Put, c.Delete, func(x *Administrator) string { return x.ID })
	next.Roles = replaced(a.Roles, c.PutRoles, c.DeleteRoles, func(x *AdministratorRole) string { return x.Name })
	updated := make(map[string]*Record, len(c.UpdateKeys))
	for i := range c.UpdateKeys {
		updated[c.UpdateKeys[i].ID] = &c.UpdateKeys[i]
	}
	for i := range next.Keys {
		if rec := updated[next.Keys[i].Record.ID]; rec != nil {
			next.Keys[i].Record = *rec
		}
	}
	return next
}

// replaced returns items without the deleted ones, and with put in place of those of the
// same name, or after them.
func replaced[T any](items, put []T, deleted []string, name func(*T) string) []T {
	next := make([]T, 0, len(items)+len(put))
	for i := range items {
		gone := slices.Contains(deleted, name(&items[i])) ||
			slices.ContainsFunc(put, func(p T) bool { return name(&p) == name(&items[i]) })
		if !gone {
			next = append(next, items[i])
		}
	}
	return append(next, put...)
}

// Find returns the administrator with that id or name, or nil.
func (a *Administration) Find(ref string) *Administrator {
	for i := range a.Administrators {
		if x := &a.Administrators[i]; x.ID == ref || x.Name == ref {
			return x
		}
	}
	return nil
}

// FamilyKeys returns the keys of a rotation family.
func (a *Administration) FamilyKeys(family string) (keys []NewKey) {
	for i := range a.Keys {
		if family != "" && a.Keys[i].Record.Family == family {
			keys = append(keys, a.Keys[i])
		}
	}
	return keys
}

// Families returns the keys by their rotation family, for callers that need most of them.
func (a *Administration) Families() map[string][]NewKey {
	families := make(map[string][]NewKey, len(a.Administrators))
	for i := range a.Keys {
		if family := a.Keys[i].Record.Family; family != "" {
			families[family] = append(families[family], a.Keys[i])
		}
	}
	return families
}
