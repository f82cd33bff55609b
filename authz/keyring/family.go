package keyring

import (
	"context"
	"fmt"
	"time"

	"extauthz/authz"
)

// maxLive is how many keys of one rotation family may be live at once (a new one, and its
// predecessor in its grace).
const maxLive = 2

// family is a key and all keys that came from the same one by rotation, as read and
// locked in a transaction.
type family struct {
	target  authz.Record
	members []authz.Record // target included
	roles   roleSet
	now     time.Time
}

// alter selects the family of the key that ref names and writes what fn returns. It
// returns what was written: created keys first. The whole family is always locked,
// because changes allowed to one member depend on the others.
func (s *Service) alter(ctx context.Context, p Principal, ref string, roles []string, fn func(family) (authz.Mutation, error)) ([]authz.Record, error) {
	found, err := s.find(ctx, p, ref)
	if err != nil {
		return nil, err
	}
	sel := authz.Selection{Family: found.Family}
	if found.Family == "" { // a key from before there were families
		sel = authz.Selection{Ref: found.ID}
	}
	return s.mutateKnowing(ctx, p, append(roles, found.Roles...), sel, func(selected []authz.Record, roles roleSet) (authz.Mutation, error) {
		for _, rec := range selected {
			if rec.ID == found.ID && p.sees(&rec) {
				return fn(family{target: rec, members: selected, roles: roles, now: s.now()})
			}
		}
		return authz.Mutation{}, fmt.Errorf("key %s: %w", found.ID, authz.ErrNotFound)
	})
}

// find returns the key that ref, an id or a prefix, names. A key that the principal may
// not see is authz.ErrNotFound. A whole key that was given by mistake reaches neither the
// store nor an error text.
func (s *Service) find(ctx context.Context, p Principal, ref string) (authz.Record, error) {
	if ref == "" || len(ref) > MaxRef || s.format.Mentions(ref) && !s.format.ValidPrefix(ref) {
		return authz.Record{}, fmt.Errorf("key: %w: give its id or its prefix, not the key itself", authz.ErrNotFound)
	}
	rec, err := s.store.KeyByRef(ctx, ref)
	if err != nil {
		return authz.Record{}, err
	}
	if !p.sees(&rec) {
		return authz.Record{}, fmt.Errorf("key %s: %w", ref, authz.ErrNotFound)
	}
	return rec, nil
}

// MaxRef is the longest id or prefix, in bytes, that is looked for.
const MaxRef = 128

// newer reports whether a was created after b.
func newer(a, b *authz.Record) bool {
	if !a.CreatedAt.Equal(b.CreatedAt) {
		return a.CreatedAt.After(b.CreatedAt)
	}
	return a.ID > b.ID
}

// newest returns the member that was created last.
func (f *family) newest() *authz.Record {
	last := &f.target
	for i := range f.members {
		if newer(&f.members[i], last) {
			last = &f.members[i]
		}
	}
	return last
}

// roomFor returns ErrFamilyFull if the target, changed to next, would become live in
// addition to maxLive others. Otherwise a key that a rotation has ended could become live
// again.
func (f *family) roomFor(next *authz.Record) error {
	if f.target.Status(f.now) == authz.StatusActive || next.Status(f.now) != authz.StatusActive {
		return nil
	}
	live := 1
	for i := range f.members {
		if f.members[i].ID != f.target.ID && f.members[i].Status(f.now) == authz.StatusActive {
			live++
		}
	}
	if live > maxLive {
		return fmt.Errorf("key %s: %w", f.target.Prefix, ErrFamilyFull)
	}
	return nil
}
