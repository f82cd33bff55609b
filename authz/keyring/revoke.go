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
		v := &problems{}
		v.add("keys", "must be at most %d in one call", MaxLimit)
		return nil, v.err()
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
			return s.revocation(p, concerned, f.roles, p.is(&f.target), o)
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
	v := &problems{format: s.format}
	v.userRef(userID)
	if err := v.err(); err != nil {
		return nil, err
	}
	var concerned []authz.Record
	written, err := s.mutateKnowing(ctx, p, nil, authz.Selection{UserID: userID}, func(selected []authz.Record, roles roleSet) (authz.Mutation, error) {
		concerned = nil
		for _, rec := range selected {
			if p.sees(&rec) {
				concerned = append(concerned, rec)
			}
		}
		return s.revocation(p, concerned, roles, false, o)
	})
	if err != nil {
		return nil, err
	}
	return asWritten(concerned, written), nil
}

func (s *Service) mayRevoke(p Principal, o RevokeOptions) error {
	if err := p.Require(RevokeKeys); err != nil {
		return err
	}
	v := &problems{format: s.format}
	v.text("reason", o.Reason, MaxReason)
	return v.err()
}

// revocation returns what revokes those keys that are not revoked yet. own means that the
// principal named its own key, which it may end together with its family.
func (s *Service) revocation(p Principal, keys []authz.Record, roles roleSet, own bool, o RevokeOptions) (authz.Mutation, error) {
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
		if !own && !p.is(&rec) {
			rights, err := roles.rights(&rec)
			if err != nil {
				return m, err
			}
			if err := p.mayStop(&rec, rights); err != nil {
				return m, err
			}
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
