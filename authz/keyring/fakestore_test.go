package keyring_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"extauthz/authz"
	"extauthz/authz/keyring"
)

// fakeStore is a keyring.Store in memory. It makes one mutation at a time, as a whole or
// not at all.
type fakeStore struct {
	mu      sync.Mutex
	version uint64
	keys    []authz.NewKey
	roles   map[string]authz.Role
	audit   []authz.AuditEntry
	usage   map[string]authz.Usage
	replays []authz.Idempotency
	mutates int // mutations that wrote something
	// administrators are names by the families that belong to administrators.
	administrators map[string]string
}

var _ keyring.Store = (*fakeStore)(nil)

func newFakeStore() *fakeStore {
	return &fakeStore{roles: map[string]authz.Role{}, administrators: map[string]string{}, usage: map[string]authz.Usage{}}
}

func (f *fakeStore) Mutate(_ context.Context, sel authz.Selection, fn func([]authz.Record) (authz.Mutation, error)) ([]authz.Record, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	selected, err := f.selected(sel)
	if err != nil {
		return nil, err
	}
	m, err := fn(selected)
	if err != nil {
		return nil, err
	}
	if err := f.check(m); err != nil {
		return nil, err
	}
	var written []authz.Record
	next := func() uint64 { f.version++; return f.version }
	for _, k := range m.Create {
		k.Record.Version = next()
		f.keys = append(f.keys, k)
		written = append(written, k.Record)
	}
	for _, rec := range m.Update {
		i := slices.IndexFunc(f.keys, func(k authz.NewKey) bool { return k.Record.ID == rec.ID })
		rec.Version = next()
		f.keys[i].Record = rec
		written = append(written, rec)
	}
	for _, r := range m.PutRoles {
		r.Version = next()
		f.roles[r.Name] = r
	}
	for _, name := range m.DeleteRoles {
		next()
		delete(f.roles, name)
	}
	if m.Idempotency != nil {
		f.replays = append(f.replays, *m.Idempotency)
	}
	f.audit = append(f.audit, m.Audit...)
	if len(m.Create)+len(m.Update)+len(m.PutRoles)+len(m.DeleteRoles)+len(m.Audit) > 0 {
		f.mutates++
	}
	return written, nil
}

// check refuses what a database's constraints would refuse.
func (f *fakeStore) check(m authz.Mutation) error {
	if i := m.Idempotency; i != nil {
		for _, r := range f.replays {
			if r.Principal != i.Principal || r.Key != i.Key {
				continue
			}
			if !bytes.Equal(r.Fingerprint, i.Fingerprint) {
				return authz.ErrIdempotencyReuse
			}
			return &authz.IdempotencyError{KeyID: r.KeyID}
		}
	}
	for _, k := range m.Create {
		if _, err := f.byRef(k.Record.Prefix); err == nil {
			return fmt.Errorf("prefix %s: %w", k.Record.Prefix, authz.ErrConflict)
		}
	}
	for _, rec := range m.Update {
		if _, err := f.byRef(rec.ID); err != nil {
			return err
		}
	}
	for _, r := range m.PutRoles {
		old, there := f.roles[r.Name]
		switch {
		case r.Version == 0 && there:
			return fmt.Errorf("role %s: %w", r.Name, authz.ErrConflict)
		case r.Version != 0 && old.Version != r.Version:
			return fmt.Errorf("role %s: %w", r.Name, authz.ErrPreconditionFailed)
		}
	}
	return nil
}

func (f *fakeStore) selected(sel authz.Selection) ([]authz.Record, error) {
	if sel.Ref != "" {
		sel.Refs = []string{sel.Ref}
	}
	var found []authz.Record
	for _, ref := range sel.Refs {
		rec, err := f.byRef(ref)
		if err != nil {
			return nil, err
		}
		found = append(found, rec)
	}
	for _, k := range f.keys {
		if sel.Family != "" && k.Record.Family == sel.Family ||
			sel.UserID != "" && k.Record.UserID == sel.UserID {
			found = append(found, k.Record)
		}
	}
	return found, nil
}

func (f *fakeStore) byRef(ref string) (authz.Record, error) {
	for _, k := range f.keys {
		if k.Record.ID == ref || k.Record.Prefix == ref {
			return k.Record, nil
		}
	}
	return authz.Record{}, fmt.Errorf("key %s: %w", ref, authz.ErrNotFound)
}

func (f *fakeStore) KeyByRef(_ context.Context, ref string) (authz.Record, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.byRef(ref)
}

func (f *fakeStore) ListKeys(_ context.Context, filter authz.KeyFilter) ([]authz.Listed, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if filter.Limit < 1 {
		return nil, errors.New("a list needs a limit")
	}
	var page []authz.Listed
	for _, k := range f.keys {
		rec := k.Record
		if filter.UserID != "" && rec.UserID != filter.UserID ||
			filter.Project != "" && rec.Project != filter.Project ||
			filter.Projects != nil && !slices.Contains(filter.Projects, rec.Project) ||
			filter.ActiveOnly && rec.Status(filter.Now) != authz.StatusActive ||
			filter.After != "" && rec.ID <= filter.After || len(page) == filter.Limit {
			continue
		}
		page = append(page, authz.Listed{Record: rec})
	}
	return page, nil
}

func (f *fakeStore) AdministratorsOf(_ context.Context, families []string) (map[string]string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	found := map[string]string{}
	for _, family := range families {
		if name, is := f.administrators[family]; is {
			found[family] = name
		}
	}
	return found, nil
}

func (f *fakeStore) NamedRoles(_ context.Context, names []string) ([]authz.Role, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var found []authz.Role
	for _, name := range names {
		if r, ok := f.roles[name]; ok {
			found = append(found, r)
		}
	}
	return found, nil
}

func (f *fakeStore) ListRoles(_ context.Context, after string, limit int) ([]authz.Role, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var page []authz.Role
	for _, name := range slices.Sorted(maps.Keys(f.roles)) {
		if name > after && len(page) < limit {
			page = append(page, f.roles[name])
		}
	}
	return page, nil
}

func (f *fakeStore) Usage(_ context.Context, ids []string) ([]authz.Usage, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var found []authz.Usage
	for _, id := range ids {
		if u, ok := f.usage[id]; ok {
			found = append(found, u)
		}
	}
	return found, nil
}

func (f *fakeStore) ListAudit(_ context.Context, filter authz.AuditFilter) ([]authz.AuditEntry, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var page []authz.AuditEntry
	for _, e := range slices.Backward(f.audit) {
		if (filter.KeyID == "" || e.KeyID == filter.KeyID) && (filter.Action == "" || e.Action == filter.Action) && len(page) < filter.Limit {
			page = append(page, e)
		}
	}
	return page, nil
}
