package administrators_test

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"extauthz/authz"
	"extauthz/authz/administrators"
)

// fakeStore keeps everything in memory, by the contract of administrators.Store: one
// change at a time, all of it or nothing.
type fakeStore struct {
	mu      sync.Mutex
	a       authz.Administration
	others  []authz.Record // keys of no administrator
	audit   []authz.AuditEntry
	down    error // what every look-up of an administrator fails with
	version uint64
}

var _ administrators.Store = (*fakeStore)(nil)

func (f *fakeStore) ChangeAdministration(_ context.Context, fn func(authz.Administration) (authz.AdministrationChange, error)) ([]authz.Record, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	c, err := fn(f.copied())
	if err != nil {
		return nil, err
	}
	for _, k := range c.CreateKeys {
		taken := slices.ContainsFunc(f.a.Keys, func(o authz.NewKey) bool { return o.Record.Prefix == k.Record.Prefix }) ||
			slices.ContainsFunc(f.others, func(o authz.Record) bool { return o.Prefix == k.Record.Prefix })
		if taken {
			return nil, fmt.Errorf("prefix %s: %w", k.Record.Prefix, authz.ErrConflict)
		}
	}
	f.a = f.copied().After(&c)
	f.others = append(f.others, f.withoutOwner()...)
	f.audit = append(f.audit, c.Audit...)
	var written []authz.Record
	for _, k := range c.CreateKeys {
		f.version++
		k.Record.Version = f.version
		written = append(written, k.Record)
	}
	return append(written, c.UpdateKeys...), nil
}

// withoutOwner takes out the keys whose administrator is gone.
func (f *fakeStore) withoutOwner() (gone []authz.Record) {
	f.a.Keys = slices.DeleteFunc(f.a.Keys, func(k authz.NewKey) bool {
		owned := slices.ContainsFunc(f.a.Administrators, func(x authz.Administrator) bool { return x.Family == k.Record.Family })
		if !owned {
			gone = append(gone, k.Record)
		}
		return !owned
	})
	return gone
}

func (f *fakeStore) copied() authz.Administration {
	return authz.Administration{Administrators: slices.Clone(f.a.Administrators), Roles: slices.Clone(f.a.Roles), Keys: slices.Clone(f.a.Keys)}
}

func (f *fakeStore) Administration(context.Context) (authz.Administration, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.copied(), nil
}

func (f *fakeStore) AdministratorOf(_ context.Context, family string) (authz.Administration, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.down != nil {
		return authz.Administration{}, f.down
	}
	for _, x := range f.a.Administrators {
		if x.Family == family {
			return authz.Administration{Administrators: []authz.Administrator{x}, Roles: slices.Clone(f.a.Roles)}, nil
		}
	}
	return authz.Administration{}, authz.ErrNotFound
}

func (f *fakeStore) KeyByRef(_ context.Context, ref string) (authz.Record, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, k := range f.a.Keys {
		if k.Record.ID == ref || k.Record.Prefix == ref {
			return k.Record, nil
		}
	}
	for _, rec := range f.others {
		if rec.ID == ref || rec.Prefix == ref {
			return rec, nil
		}
	}
	return authz.Record{}, authz.ErrNotFound
}

func (f *fakeStore) HasAdministrator(context.Context) (bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.ContainsFunc(f.a.Administrators, func(x authz.Administrator) bool {
		return slices.ContainsFunc(f.a.FamilyKeys(x.Family), func(k authz.NewKey) bool { return k.Record.RevokedAt.IsZero() })
	}), nil
}
