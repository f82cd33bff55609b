package keyring

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"extauthz/authz"
)

// standing is how much a key can manage on its own, and for how long. Each value includes
// those before it.
type standing int

const (
	powerless standing = iota
	issuer             // may create keys
	owner              // holds every permission, and may grant everything in every project
	lasting            // an owner that does not expire
)

// guard refuses m if it would leave no administrator: the best standing among all keys
// may not become lower. Two changes that each end another administrator can't pass it
// together, since the store lets one guard run at a time, in the transaction that writes.
//
// The last administrator can be rotated: its successor counts from the moment it is
// written, and the answer holds the successor's key. But the last owner that does not
// expire can't get an expiry, because that takes effect later, unattended.
func (s *Service) guard(p Principal, m *authz.Mutation) {
	if len(m.Update)+len(m.PutRoles)+len(m.DeleteRoles) == 0 {
		return
	}
	change := *m
	m.Guard = func(before authz.Administration) error {
		now, after := s.now(), before.After(&change)
		unreached := s.outOfReach(p, before, change.Update)
		if s.best(after, now, unreached) >= s.best(before, now, nil) {
			return nil
		}
		if len(change.Update) > 0 {
			return fmt.Errorf("key %s: %w", change.Update[0].Prefix, ErrLastAdministrator)
		}
		return fmt.Errorf("role: %w", ErrLastAdministrator)
	}
}

// best returns the best standing of a key at now. Keys in unreached do not count.
func (s *Service) best(a authz.Administration, now time.Time, unreached []string) standing {
	best := powerless
	for i := range a.Keys {
		if k := &a.Keys[i]; !slices.Contains(unreached, k.Record.ID) {
			best = max(best, s.standing(k, a.Rights(&k.Record), now))
		}
	}
	return best
}

// standing returns the standing of a key at now. A key that can't be used has none, for
// example because its pepper is gone or its prefix has another brand.
func (s *Service) standing(k *authz.NewKey, rights authz.Scopes, now time.Time) standing {
	rec := &k.Record
	everything := authz.Scopes{{Resource: "*", Actions: []string{"*"}}}
	management := authz.Scopes{{Resource: authz.ReservedResource, Actions: []string{"*"}}}
	switch {
	case rec.Unreadable != "" || rec.Status(now) != authz.StatusActive || !s.format.ValidPrefix(rec.Prefix) || !s.peppers().Known(k.Verifier):
		return powerless
	case !rights.Allows(authz.ReservedResource+"/keys", "create"):
		return powerless
	case !rights.Covers(management) || !rec.Grants.Scopes.Covers(everything) || !slices.Contains(rec.Grants.Projects, AllProjects) || len(rec.Grants.Users) > 0:
		return issuer
	case !rec.ExpiresAt.IsZero():
		return owner
	}
	return lasting
}

// outOfReach returns the ids of keys whose networks change to some that the caller is not
// in: it is not certain that any client can use such a key.
func (s *Service) outOfReach(p Principal, before authz.Administration, updated []authz.Record) (ids []string) {
	caller, err := netip.ParseAddr(p.Source)
	for _, rec := range updated {
		i := slices.IndexFunc(before.Keys, func(k authz.NewKey) bool { return k.Record.ID == rec.ID })
		if i < 0 || len(rec.AllowedCIDRs) == 0 || slices.Equal(before.Keys[i].Record.AllowedCIDRs, rec.AllowedCIDRs) {
			continue
		}
		if err != nil || !slices.ContainsFunc(rec.AllowedCIDRs, func(n netip.Prefix) bool { return n.Contains(caller.Unmap()) }) {
			ids = append(ids, rec.ID)
		}
	}
	return ids
}
