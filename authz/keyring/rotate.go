package keyring

import (
	"context"
	"fmt"
	"time"

	"extauthz/authz"
)

// DefaultGrace is how long a rotated key stays valid if the request sets no grace;
// MaxGrace is the longest that a request may set.
const (
	DefaultGrace = 24 * time.Hour
	MaxGrace     = 30 * 24 * time.Hour
)

// RotateOptions defines how a key is rotated. The zero value is the usual choice.
type RotateOptions struct {
	// Grace is how long the old key stays valid, 0 (it ends at once) to MaxGrace;
	// nil: DefaultGrace.
	Grace *time.Duration
	// ExpiresAt is the new key's end; zero: never; nil: the new key gets the lifetime
	// that the old one was issued with, counted from now.
	ExpiresAt *time.Time
	// IfVersion is as in Patch.
	IfVersion uint64
}

// Rotated is a new key and the one that it replaces.
type Rotated struct {
	Created
	Old authz.Record // ends at its ExpiresAt
}

// Rotate issues a key with all that the named one has, in the same family. The named key
// ends with the grace, or at its own expiry if that is earlier. Older members of the
// family end at once, so that no more than two are live. Only a live key can be rotated,
// and only the newest live one of its family. Errors: ErrForbidden, authz.ErrNotFound,
// *ValidationError, ErrRevoked, ErrDisabled, ErrExpired, ErrSuperseded,
// authz.ErrPreconditionFailed.
func (s *Service) Rotate(ctx context.Context, p Principal, ref string, o RotateOptions) (Rotated, error) {
	if err := p.Require(RotateKeys); err != nil {
		return Rotated{}, err
	}
	v := &Problems{Format: s.format}
	grace := DefaultGrace
	if o.Grace != nil {
		grace = *o.Grace
	}
	if grace < 0 || grace > MaxGrace {
		v.Add("grace", "must be 0 to %s", MaxGrace)
	}
	if o.ExpiresAt != nil {
		o.ExpiresAt = new(v.Expiry(*o.ExpiresAt, s.now()))
	}
	if err := v.Err(); err != nil {
		return Rotated{}, err
	}
	var key authz.Secret
	var written []authz.Record
	err := retryCollision(func() (err error) {
		written, err = s.alter(ctx, p, ref, nil, func(f family) (authz.Mutation, error) {
			if o.IfVersion != 0 && o.IfVersion != f.target.Version {
				return authz.Mutation{}, fmt.Errorf("key %s: %w: read it again", f.target.Prefix, authz.ErrPreconditionFailed)
			}
			if err := f.mayRotate(p); err != nil {
				return authz.Mutation{}, err
			}
			made, err := s.mintSuccessor(&f, o.ExpiresAt)
			if err != nil {
				return authz.Mutation{}, err
			}
			key = made.secret
			return s.rotation(p, &f, made.NewKey, grace)
		})
		return err
	})
	if err != nil {
		return Rotated{}, err
	}
	// Created keys come first, so written[0] is the successor. written[1] is the rotated
	// key, which is the first that was updated.
	return Rotated{Created: Created{Record: written[0], Key: key}, Old: written[1]}, nil
}

// mayRotate returns an error unless the target's state allows a rotation and p may rotate
// it.
func (f *family) mayRotate(p Principal) error {
	if err := f.roles.readable(&f.target); err != nil {
		return err
	}
	rights, err := f.roles.rights(&f.target)
	if err != nil {
		return err
	}
	if err := mayHave(&f.target, rights); err != nil {
		return err
	}
	if err := p.coverKey(&f.target, rights); err != nil {
		return err
	}
	switch f.target.Status(f.now) {
	case authz.StatusRevoked:
		err = ErrRevoked
	case authz.StatusDisabled:
		err = ErrDisabled
	case authz.StatusExpired:
		err = ErrExpired
	default:
		err = nil
		for i := range f.members {
			m := &f.members[i]
			if newer(m, &f.target) && m.Status(f.now) == authz.StatusActive {
				err = ErrSuperseded
			}
		}
	}
	if err != nil {
		return fmt.Errorf("key %s: %w", f.target.Prefix, err)
	}
	return nil
}

// successorExpiry returns now plus the lifetime that the family's keys are issued with;
// zero if they never expire. It is the lifetime of the newest member. The target's own
// expiry may be the end of a grace, if its successor was revoked alone.
func (f *family) successorExpiry() time.Time {
	last := f.newest()
	if last.ExpiresAt.IsZero() {
		return time.Time{}
	}
	return f.now.Add(last.ExpiresAt.Sub(last.CreatedAt))
}

// mintSuccessor makes the key that replaces the target.
func (s *Service) mintSuccessor(f *family, expiresAt *time.Time) (minted, error) {
	next := f.target
	next.RotatedFrom = f.target.ID
	next.ExpiresAt = f.successorExpiry()
	set(&next.ExpiresAt, expiresAt)
	next.CreatedAt, next.UpdatedAt, next.Version = f.now, f.now, 0
	// The successor does not inherit shadow mode, but it keeps the family's end of it: a
	// rotation must not be a way to begin again.
	next.ShadowUntil, next.ShadowScopes, next.ShadowEnd = time.Time{}, nil, f.shadowEnd()
	name := f.target.Family
	if name == "" {
		name = f.target.ID
	}
	return s.mint(&next, name)
}

// rotation returns what a rotation writes: the successor, the target with its end, and
// every other member that has not ended yet, which ends at once. This includes disabled
// members: one that is enabled again would be a third live key.
func (s *Service) rotation(p Principal, f *family, successor authz.NewKey, grace time.Duration) (authz.Mutation, error) {
	m := authz.Mutation{Create: []authz.NewKey{successor}}
	err := s.recordKey(&m, p, f.now, actionKeyCreate, &authz.Record{}, &successor.Record, nil)
	if err != nil {
		return m, err
	}
	end := func(rec authz.Record, at time.Time, action string) error {
		next := rec
		next.Family = successor.Record.Family
		if next.ExpiresAt.IsZero() || at.Before(next.ExpiresAt) {
			next.ExpiresAt = at
		}
		next.UpdatedAt = f.now
		m.Update = append(m.Update, next)
		return s.recordKey(&m, p, f.now, action, &rec, &next, map[string]string{"successor": successor.Record.Prefix})
	}
	if err := end(f.target, f.now.Add(grace), actionKeyRotate); err != nil {
		return m, err
	}
	for _, member := range f.members {
		over := !member.RevokedAt.IsZero() || !member.ExpiresAt.IsZero() && !f.now.Before(member.ExpiresAt)
		if member.ID == f.target.ID || over {
			continue
		}
		if err := p.mayStop(&member); err != nil {
			return m, err
		}
		if err := end(member, f.now, actionKeyExpire); err != nil {
			return m, err
		}
	}
	return m, nil
}
