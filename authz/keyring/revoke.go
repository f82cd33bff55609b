package keyring

import (
	"context"
	"errors"

	"extauthz/authz"
)

// RevokeOptions defines how keys are revoked. The zero value is the safe choice.
type RevokeOptions struct {
	// OnlyThis leaves the other members of the key's rotation family as they are.
	// Otherwise they are revoked too: an attacker with one key of a family may have got
	// the others in the same way.
	OnlyThis bool
	Reason   string // at most 500 characters, for the audit
}

// Revoke ends the named keys (ids or prefixes), and their families, for ever. It returns
// the new state of every key concerned, including keys that were revoked before, which
// stay unchanged. Each family is one transaction. If one can't be revoked, the others are
// still revoked. The keys are then returned together with an error that joins all
// failures (ErrForbidden, authz.ErrNotFound, *ValidationError).
func (s *Service) Revoke(ctx context.Context, p Principal, refs []string, o RevokeOptions) ([]authz.Record, error) {
	if err := s.mayRevoke(p, o); err != nil {
		return nil, err
	}
	if len(refs) > MaxLimit {
		v := &Problems{}
		v.Add("keys", "must be at most %d in one call", MaxLimit)
		return nil, v.Err()
	}
	var revoked []authz.Record
	var failures []error
	done := make(map[string]bool)
	for _, ref := range refs {
		var concerned []authz.Record
		written, err := s.alter(ctx, p, ref, nil, func(f family) (authz.Mutation, error) {
			concerned = nil
			switch {
			case done[f.target.ID]:
				return authz.Mutation{}, nil
			case o.OnlyThis:
				concerned = []authz.Record{f.target}
			default:
				concerned = f.members
			}
			return s.revocation(p, concerned, o)
		})
		if err != nil {
			failures = append(failures, err)
			continue
		}
		for _, rec := range asWritten(concerned, written) {
			if !done[rec.ID] {
				done[rec.ID] = true
				revoked = append(revoked, rec)
			}
		}
	}
	return revoked, errors.Join(failures...)
}

// RevokeUser ends for ever, in one transaction, all keys of a user that the principal may
// see. If it may not revoke one of them, none is revoked (ErrForbidden). It returns the
// keys in their new state. A user without keys is no error.
func (s *Service) RevokeUser(ctx context.Context, p Principal, userID string, o RevokeOptions) ([]authz.Record, error) {
	if err := s.mayRevoke(p, o); err != nil {
		return nil, err
	}
	v := &Problems{Format: s.format}
	v.userRef(userID)
	if err := v.Err(); err != nil {
		return nil, err
	}
	checked := map[string]bool{} // families that are no administrator's
	for attempt := 1; ; attempt++ {
		var concerned []authz.Record
		written, err := s.mutate(ctx, authz.Selection{UserID: userID}, func(selected []authz.Record) (authz.Mutation, error) {
			concerned = nil
			unchecked := false
			for _, rec := range selected {
				if p.sees(&rec) {
					concerned = append(concerned, rec)
					unchecked = unchecked || !checked[rec.Family]
				}
			}
			if unchecked { // not here: a store may have a single connection
				return authz.Mutation{}, errUnchecked
			}
			return s.revocation(p, concerned, o)
		})
		if !errors.Is(err, errUnchecked) || attempt == maxAttempts {
			if err != nil {
				return nil, err
			}
			return asWritten(concerned, written), nil
		}
		if err := s.refuseAdministrators(ctx, concerned); err != nil {
			return nil, err
		}
		for i := range concerned {
			checked[concerned[i].Family] = true
		}
	}
}

// errUnchecked ends a transaction that met keys of families that were not looked up
// before it.
var errUnchecked = errors.New("the keys of the user change too fast: try again")

func (s *Service) mayRevoke(p Principal, o RevokeOptions) error {
	if err := p.Require(RevokeKeys); err != nil {
		return err
	}
	v := &Problems{Format: s.format}
	v.Text("reason", o.Reason, MaxReason)
	return v.Err()
}

// revocation returns what revokes those keys that are not revoked yet.
func (s *Service) revocation(p Principal, keys []authz.Record, o RevokeOptions) (authz.Mutation, error) {
	var m authz.Mutation
	now := s.now()
	var extra map[string]string
	if o.Reason != "" {
		extra = map[string]string{"reason": o.Reason}
	}
	for _, rec := range keys {
		if !rec.RevokedAt.IsZero() {
			continue
		}
		if err := p.mayStop(&rec); err != nil {
			return m, err
		}
		next := rec
		next.Active, next.RevokedAt, next.UpdatedAt = false, now, now
		m.Update = append(m.Update, next)
		if err := s.recordKey(&m, p, now, actionKeyRevoke, &rec, &next, extra); err != nil {
			return m, err
		}
	}
	return m, nil
}

// asWritten returns keys, with the written ones in their new state.
func asWritten(keys, written []authz.Record) []authz.Record {
	now := make([]authz.Record, len(keys))
	for i, rec := range keys {
		now[i] = rec
		for _, w := range written {
			if w.ID == rec.ID {
				now[i] = w
			}
		}
	}
	return now
}
