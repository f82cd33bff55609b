package administrators

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"extauthz/authz"
	"extauthz/authz/keyring"
)

// outage is how long the last answer about an administrator counts while the database does
// not answer: as long as known keys are served by default (cache.local.max_stale). It keeps
// conditions and the cache visible.
const outage = 5 * time.Minute

// duringOutage are the permissions that an administrator keeps of its last answer: those
// that change nothing in the database. A look-up may fail alone, such as by a time-out, and
// the call's statements succeed; then a permission that was taken away must not count.
var duringOutage = []keyring.Permission{keyring.ReadKeys, keyring.ReadRoles, keyring.ReadUsage, keyring.ReadAudit, keyring.ReadAdministrators,
	keyring.CreateExplain, keyring.ReadRoutes, keyring.ReadCache, keyring.InvalidateCache, keyring.WarmCache}

// lastAnswer is the database's last answer about a family.
type lastAnswer struct {
	a  authz.Administration
	at time.Time
}

// Refused is the error for an administrator that has a valid key but is not admitted.
type Refused struct{ Reason authz.Reason }

func (e *Refused) Error() string { return "the administrator is not admitted: " + e.Reason.String() }

// Principal returns the caller that a verified key stands for. It asks the database at each
// call, so a change of an administrator counts at once on every replica. Errors: ErrNone,
// *Refused (disabled, expired, another network), authz.ErrUnreadable, and the database's.
func (s *Service) Principal(ctx context.Context, key *authz.Record, from netip.Addr) (keyring.Principal, error) {
	a, remembered, err := s.administratorOf(ctx, key.Family)
	if errors.Is(err, authz.ErrNotFound) {
		return keyring.Principal{}, fmt.Errorf("key %s: %w", key.Prefix, ErrNone)
	}
	if err != nil {
		return keyring.Principal{}, err
	}
	x := &a.Administrators[0]
	if x.Unreadable != "" {
		return keyring.Principal{}, fmt.Errorf("%w: administrator %s: %s", authz.ErrUnreadable, x.Name, x.Unreadable)
	}
	switch x.Status(s.now()) {
	case authz.StatusDisabled:
		return keyring.Principal{}, &Refused{authz.ReasonDisabled}
	case authz.StatusExpired:
		return keyring.Principal{}, &Refused{authz.ReasonExpired}
	}
	if len(x.Networks) > 0 && !slices.ContainsFunc(x.Networks, func(n netip.Prefix) bool { return n.Contains(from.Unmap()) }) {
		return keyring.Principal{}, &Refused{authz.ReasonNetwork}
	}
	permissions := PowerOf(x, a.Roles).Permissions
	if remembered {
		permissions = limited(permissions, duringOutage)
	}
	return keyring.Principal{AdministratorID: x.ID, KeyID: key.ID, Name: x.Name,
		Permissions: permissions, Grants: x.Grants, Source: from.String()}, nil
}

// limited returns those of the permissions that held allows.
func limited(held authz.Scopes, permissions []keyring.Permission) authz.Scopes {
	var kept []keyring.Permission
	for _, p := range permissions {
		if held.Covers(set(p)) {
			kept = append(kept, p)
		}
	}
	return set(kept...)
}

// administratorOf returns the administrator of a family; remembered is true for the last
// answer of a database that does not answer now.
func (s *Service) administratorOf(ctx context.Context, family string) (a authz.Administration, remembered bool, err error) {
	if family == "" { // a key from before there were families
		return a, false, authz.ErrNotFound
	}
	asked := s.clock()
	a, err = s.store.AdministratorOf(ctx, family)
	if err == nil || errors.Is(err, authz.ErrNotFound) {
		s.remember(family, a, asked, err == nil)
		return a, false, err
	}
	if ctx.Err() != nil { // the client left, which is no outage
		return authz.Administration{}, false, err
	}
	s.lastMu.Lock()
	defer s.lastMu.Unlock()
	if last, ok := s.last[family]; ok && s.clock().Sub(last.at) < outage {
		return last.a, true, nil
	}
	return authz.Administration{}, false, err
}

// remember stores the answer. It stores none for families of other keys, so there are no
// more answers than administrators.
func (s *Service) remember(family string, a authz.Administration, at time.Time, is bool) {
	s.lastMu.Lock()
	defer s.lastMu.Unlock()
	if is {
		s.last[family] = lastAnswer{a, at}
		return
	}
	delete(s.last, family)
}

// forget drops all answers: what this replica has changed must not return in an outage.
func (s *Service) forget() {
	s.lastMu.Lock()
	defer s.lastMu.Unlock()
	clear(s.last)
}
