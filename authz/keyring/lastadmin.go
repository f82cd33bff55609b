package keyring

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"extauthz/authz"
)

// standing is how much a key can manage on its own, and for how long. Each one includes
// those before it.
type standing int

const (
	powerless standing = iota
	issuer             // may create keys
	owner              // holds every permission, and may grant everything in every project
	lasting            // an owner that does not expire
)

// guard refuses m if it would leave no administrator: the best standing among all keys
// may not become lower than it is. Another administrator may be ended at the same time:
// the store lets one guard run at a time, in the transaction that writes.
//
// So the caller that rotates the last one gets its successor, which counts from the
// moment it is written; the answer carries its key. An expiry is refused at the last owner
// that has none, because it takes effect later, unattended.
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

// best is the best standing of a key at now; those in unreached have none.
func (s *Service) best(a authz.Administration, now time.Time, unreached []string) standing {
	best := powerless
	for i := range a.Keys {
		if k := &a.Keys[i]; !slices.Contains(unreached, k.Record.ID) {
			best = max(best, s.standing(k, a.Rights(&k.Record), now))
		}
	}
	return best
}

// standing of a key that can be used now: a digest whose pepper is gone, or a
// prefix of another brand, makes none.
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

// outOfReach returns the ids of keys whose networks change to some that the caller
// is not in: such a key has never been seen to work.
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
