package keyring

import (
	"context"
	"fmt"
	"strings"
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
	if err := s.refuseAdministrators(ctx, []authz.Record{found}); err != nil {
		return nil, err
	}
	sel := authz.Selection{Family: found.Family}
	if found.Family == "" { // a key from before there were families
		sel = authz.Selection{Ref: found.ID}
	}
	return s.mutateKnowing(ctx, append(roles, found.Roles...), sel, func(selected []authz.Record, roles roleSet) (authz.Mutation, error) {
		for _, rec := range selected {
			if rec.ID == found.ID && p.sees(&rec) {
				return fn(family{target: rec, members: selected, roles: roles, now: s.now()})
			}
		}
		return authz.Mutation{}, fmt.Errorf("key %s: %w", found.ID, authz.ErrNotFound)
	})
}

// refuseAdministrators returns ErrAdministratorKey if one of the keys belongs to an
// administrator: its power is changed in another package, by another rule. It is called
// before the transaction, since a family that exists never becomes an administrator's.
func (s *Service) refuseAdministrators(ctx context.Context, keys []authz.Record) error {
	families := make([]string, 0, len(keys))
	for i := range keys {
		if keys[i].Family != "" {
			families = append(families, keys[i].Family)
		}
	}
	if len(families) == 0 {
		return nil
	}
	owners, err := s.store.AdministratorsOf(ctx, sortedSet(families))
	if err != nil {
		return fmt.Errorf("read administrators: %w", err)
	}
	for i := range keys {
		if name, is := owners[keys[i].Family]; is && keys[i].Family != "" {
			return fmt.Errorf("key %s: %w (%s)", keys[i].Prefix, ErrAdministratorKey, name)
		}
	}
	return nil
}

// mayHave returns ErrForbidden for a key that has scopes on the reserved resource, itself
// or by a role: they are from a release in which they made administrators. Replicas of
// that release may still run, so nothing is built on them; the key can be ended.
func mayHave(rec *authz.Record, rights authz.Scopes) error {
	if found := rights.Reserved(); len(found) > 0 {
		return fmt.Errorf("%w: the key has %s, itself or by a role, which only administrators have: remove it from the role, or make an administrator", ErrForbidden, strings.Join(found.Strings(), " "))
	}
	return nil
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
