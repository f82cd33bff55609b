package administrators

import (
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"time"

	"extauthz/authz"
	"extauthz/authz/keyring"
)

// judge is the rule about which administrator may make, change and end which others. It
// compares the administration before and after a change. Every administrator that is
// different afterwards (its row, its keys, or its power because of a role) must have been
// within the caller's power, and must be within it afterwards. To take an administrator out
// of service, the caller's permissions and grants have to cover the administrator's. An
// administrator may always end itself.
//
// self is the caller's id, empty for a caller that is not a stored administrator. may is the
// caller's power in before.
func judge(self string, may Power, before, after authz.Administration) error {
	if err := judgeRoles(may, before, after); err != nil {
		return err
	}
	c := compare(before, after)
	for i := range before.Administrators {
		was := &before.Administrators[i]
		is := c.later[was.ID]
		if is != nil && c.same(was, is) {
			continue
		}
		had := PowerOf(was, before.Roles)
		if is == nil || c.stops(was, is) {
			if was.ID == self {
				continue
			}
			if lacks := may.lacksRights(had); lacks != "" {
				return forbidden(was, lacks)
			}
			continue
		}
		if why := unreadable(was, before.Roles); why != "" {
			return fmt.Errorf("%w: administrator %s: %s", authz.ErrUnreadable, was.Name, why)
		}
		for _, power := range []Power{had, PowerOf(is, after.Roles)} {
			if lacks := may.Lacks(power); lacks != "" {
				return forbidden(was, lacks)
			}
		}
	}
	for i := range after.Administrators {
		is := &after.Administrators[i]
		if c.earlier[is.ID] != nil {
			continue
		}
		if lacks := may.Lacks(PowerOf(is, after.Roles)); lacks != "" {
			return forbidden(is, lacks)
		}
	}
	return nil
}

func forbidden(a *authz.Administrator, lacks string) error {
	return fmt.Errorf("%w: the administrator %s has, or would have, %s, which you have not: ask an administrator who has", keyring.ErrForbidden, a.Name, lacks)
}

// judgeRoles requires that the caller has the permissions of each changed role, before and
// after, even if no administrator has the role yet: another caller could assign it without
// knowing of the change.
func judgeRoles(may Power, before, after authz.Administration) error {
	changed := func(r *authz.AdministratorRole, there []authz.AdministratorRole) bool {
		i := slices.IndexFunc(there, func(x authz.AdministratorRole) bool { return x.Name == r.Name })
		return i < 0 || !reflect.DeepEqual(*r, there[i])
	}
	for _, side := range [][2][]authz.AdministratorRole{{before.Roles, after.Roles}, {after.Roles, before.Roles}} {
		for i := range side[0] {
			role := &side[0][i]
			if !changed(role, side[1]) {
				continue
			}
			if missing := missingScopes(may.Permissions, role.Permissions); missing != "" {
				return fmt.Errorf("%w: the management role %s has, or would have, the permissions %s, which you have not", keyring.ErrForbidden, role.Name, missing)
			}
		}
	}
	return nil
}

// unreadable returns what is wrong with an administrator's row, or with the row of one of
// its roles. After a repair, it might have more power than it seems to have.
func unreadable(a *authz.Administrator, own []authz.AdministratorRole) string {
	if a.Unreadable != "" {
		return a.Unreadable
	}
	for i := range own {
		if own[i].Unreadable != "" && slices.Contains(a.Roles, own[i].Name) {
			return "role " + own[i].Name + ": " + own[i].Unreadable
		}
	}
	return ""
}

func byID(all []authz.Administrator, id string) *authz.Administrator {
	i := slices.IndexFunc(all, func(a authz.Administrator) bool { return a.ID == id })
	if i < 0 {
		return nil
	}
	return &all[i]
}

// comparison is the administration before and after a change, with what the rule looks up
// for each administrator: without it, the time would grow with the square of their number.
type comparison struct {
	before, after     authz.Administration
	earlier, later    map[string]*authz.Administrator // by id
	keysWere, keysAre map[string][]authz.NewKey       // by family
	sameRoles         bool
}

func compare(before, after authz.Administration) *comparison {
	c := &comparison{before: before, after: after, earlier: map[string]*authz.Administrator{}, later: map[string]*authz.Administrator{},
		keysWere: before.Families(), keysAre: after.Families(), sameRoles: reflect.DeepEqual(before.Roles, after.Roles)}
	for i := range before.Administrators {
		c.earlier[before.Administrators[i].ID] = &before.Administrators[i]
	}
	for i := range after.Administrators {
		c.later[after.Administrators[i].ID] = &after.Administrators[i]
	}
	return c
}

// same reports whether an administrator's row, keys and power are the same in both.
func (c *comparison) same(was, is *authz.Administrator) bool {
	return reflect.DeepEqual(*was, *is) && reflect.DeepEqual(c.keysWere[was.Family], c.keysAre[is.Family]) && c.samePower(was, is)
}

// samePower compares the power of an administrator whose row is the same in both.
func (c *comparison) samePower(was, is *authz.Administrator) bool {
	return c.sameRoles || reflect.DeepEqual(PowerOf(was, c.before.Roles), PowerOf(is, c.after.Roles))
}

// stops reports whether a change does nothing but take out of service: it disables the
// administrator or ends keys.
func (c *comparison) stops(was, is *authz.Administrator) bool {
	expected := *was
	expected.Active = was.Active && is.Active
	expected.Version, expected.UpdatedAt = is.Version, is.UpdatedAt
	if !reflect.DeepEqual(expected, *is) || !c.samePower(was, is) {
		return false
	}
	keys, left := c.keysWere[was.Family], c.keysAre[is.Family]
	if len(keys) != len(left) {
		return false
	}
	for i := range keys {
		if !ends(&keys[i].Record, &left[i].Record) { // a verifier never changes
			return false
		}
	}
	return true
}

// ends reports whether a key lives no longer, and may do no more, than before.
func ends(was, is *authz.Record) bool {
	sooner := was.ExpiresAt.Equal(is.ExpiresAt) || !is.ExpiresAt.IsZero() && (was.ExpiresAt.IsZero() || is.ExpiresAt.Before(was.ExpiresAt))
	still := was.RevokedAt.IsZero() || was.RevokedAt.Equal(is.RevokedAt)
	more := !was.Scopes.Covers(is.Scopes) || !slices.Equal(was.Roles, is.Roles) || was.Project != is.Project || was.UserID != is.UserID
	return was.ID == is.ID && was.Prefix == is.Prefix && sooner && still && !more && (was.Active || !is.Active)
}

// standing is how much an administrator can manage on its own, and for how long. Each one
// includes those before it.
type standing int

const (
	powerless standing = iota
	issuer             // may create keys
	ruler              // holds every permission, and may grant everything in every project
	lasting            // a ruler that does not expire
)

// best returns the best standing of an administrator with a key that works at now.
func (s *Service) best(a authz.Administration, now time.Time, unreached []string) standing {
	highest, families := powerless, a.Families()
	for i := range a.Administrators {
		if x := &a.Administrators[i]; highest < lasting && !slices.Contains(unreached, x.ID) {
			highest = max(highest, s.standing(x, a.Roles, families[x.Family], now))
		}
	}
	return highest
}

func (s *Service) standing(x *authz.Administrator, own []authz.AdministratorRole, keys []authz.NewKey, now time.Time) standing {
	if x.Unreadable != "" || x.Status(now) != authz.StatusActive {
		return powerless
	}
	end, works := s.keysEnd(keys, now)
	power := PowerOf(x, own)
	switch {
	case !works, !power.Permissions.Covers(set(keyring.CreateKeys)):
		return powerless
	case power.lacksRights(owner()) != "":
		return issuer
	case !x.ExpiresAt.IsZero() || !end.IsZero():
		return ruler
	}
	return lasting
}

// keysEnd returns when the last of the keys that work at now ends; zero means never. A key
// whose pepper is gone, or whose prefix is of another brand, does not work.
func (s *Service) keysEnd(keys []authz.NewKey, now time.Time) (end time.Time, works bool) {
	for i := range keys {
		rec := &keys[i].Record
		if rec.Unreadable != "" || rec.Status(now) != authz.StatusActive || !s.format.ValidPrefix(rec.Prefix) || !s.peppers().Known(keys[i].Verifier) {
			continue
		}
		if rec.ExpiresAt.IsZero() {
			return time.Time{}, true
		}
		if works = true; rec.ExpiresAt.After(end) {
			end = rec.ExpiresAt
		}
	}
	return end, works
}

// keepOwner returns ErrLastOwner if the change would leave a worse standing than there is.
func (s *Service) keepOwner(p keyring.Principal, before, after authz.Administration, now time.Time) error {
	if s.best(after, now, outOfReach(p, before, after)) < s.best(before, now, nil) {
		return ErrLastOwner
	}
	return nil
}

// outOfReach returns the ids of administrators whose networks change to networks that the
// caller is not in: nothing shows that a call from there arrives.
func outOfReach(p keyring.Principal, before, after authz.Administration) (ids []string) {
	caller, err := netip.ParseAddr(p.Source)
	earlier := make(map[string]*authz.Administrator, len(before.Administrators))
	for i := range before.Administrators {
		earlier[before.Administrators[i].ID] = &before.Administrators[i]
	}
	for i := range after.Administrators {
		is := &after.Administrators[i]
		was := earlier[is.ID]
		if was == nil || len(is.Networks) == 0 || slices.Equal(was.Networks, is.Networks) {
			continue
		}
		if err != nil || !slices.ContainsFunc(is.Networks, func(n netip.Prefix) bool { return n.Contains(caller.Unmap()) }) {
			ids = append(ids, is.ID)
		}
	}
	return ids
}
