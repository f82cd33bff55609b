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
// not answer: as long as known keys are served by default (cache.local.max_stale). Nothing
// can be changed meanwhile; it keeps conditions and the cache visible.
const outage = 5 * time.Minute

// lastAnswer is what the database answered about a family.
type lastAnswer struct {
	a  authz.Administration
	at time.Time
}

// Refused is why an administrator with a valid key is not admitted.
type Refused struct{ Reason authz.Reason }

func (e *Refused) Error() string { return "the administrator is not admitted: " + e.Reason.String() }

// Principal returns the caller that a verified key stands for. It asks the database at each
// call, so a change of an administrator counts at once on every replica. Errors: ErrNone,
// *Refused (disabled, expired, another network), authz.ErrUnreadable, and the database's.
func (s *Service) Principal(ctx context.Context, key *authz.Record, from netip.Addr) (keyring.Principal, error) {
	a, err := s.administratorOf(ctx, key.Family)
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
	return keyring.Principal{AdministratorID: x.ID, KeyID: key.ID, Name: x.Name,
		Permissions: PowerOf(x, a.Roles).Permissions, Grants: x.Grants, Source: from.String()}, nil
}

func (s *Service) administratorOf(ctx context.Context, family string) (authz.Administration, error) {
	if family == "" { // a key from before there were families
		return authz.Administration{}, authz.ErrNotFound
	}
	asked := s.clock()
	a, err := s.store.AdministratorOf(ctx, family)
	if err == nil || errors.Is(err, authz.ErrNotFound) {
		s.remember(family, a, asked, err == nil)
		return a, err
	}
	if ctx.Err() != nil { // the client left, which is no outage
		return authz.Administration{}, err
	}
	s.lastMu.Lock()
	defer s.lastMu.Unlock()
	if last, ok := s.last[family]; ok && s.clock().Sub(last.at) < outage {
		return last.a, nil
	}
	return authz.Administration{}, err
}

// remember keeps the answer. Families that are no administrator's are not kept, so there
// are no more of them than administrators.
func (s *Service) remember(family string, a authz.Administration, at time.Time, is bool) {
	s.lastMu.Lock()
	defer s.lastMu.Unlock()
	if is {
		s.last[family] = lastAnswer{a, at}
		return
	}
	delete(s.last, family)
}

// forget drops all answers: what was changed here does not count for an outage.
func (s *Service) forget() {
	s.lastMu.Lock()
	defer s.lastMu.Unlock()
	clear(s.last)
}
