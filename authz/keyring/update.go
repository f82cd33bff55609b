package keyring

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"time"

	"extauthz/authz"
)

// Patch changes a key; nil fields stay as they are. User, environment and prefix never
// change.
type Patch struct {
	Name         *string
	Scopes       *authz.Scopes // in place of all scopes; need not be canonical
	Roles        *[]string     // in place of all roles
	ExpiresAt    *time.Time    // in the future, or zero for never
	Project      *string
	AllowedCIDRs *[]netip.Prefix
	Metadata     *map[string]string // in place of all entries
	Rate         *authz.Rate
	// ShadowUntil is the end of the key's shadow mode; zero ends it now. It needs
	// ShadowKeys. The first end may be at most MaxShadow ahead. From then on, even after
	// shadow mode was ended, an earlier end may be set, but none later than the first.
	// Shadow mode softens no more than the principal may grant (see [family.shadow]).
	ShadowUntil *time.Time

	// IfVersion is the version that the caller has seen. If the key has another one, the
	// error is authz.ErrPreconditionFailed. 0: any version.
	IfVersion uint64
}

// MaxShadow is the longest duration of a key's shadow mode, counted from when it was
// first set.
const MaxShadow = 90 * 24 * time.Hour

// Update changes a key and returns it as it is afterwards. A patch that changes
// nothing writes nothing. Errors: ErrForbidden, authz.ErrNotFound,
// *ValidationError, ErrRevoked, authz.ErrPreconditionFailed, ErrFamilyFull.
func (s *Service) Update(ctx context.Context, p Principal, ref string, patch Patch) (authz.Record, error) {
	if err := p.Require(UpdateKeys); err != nil {
		return authz.Record{}, err
	}
	if patch.ShadowUntil != nil {
		if err := p.Require(ShadowKeys); err != nil {
			return authz.Record{}, err
		}
	}
	patch, err := s.validatePatch(ctx, patch)
	if err != nil {
		return authz.Record{}, err
	}
	var named []string
	if patch.Roles != nil {
		named = *patch.Roles
	}
	return s.change(ctx, p, ref, named, actionKeyUpdate, func(f *family) (authz.Record, error) {
		if patch.IfVersion != 0 && patch.IfVersion != f.target.Version {
			return authz.Record{}, fmt.Errorf("key %s: %w: read it again", f.target.Prefix, authz.ErrPreconditionFailed)
		}
		next := patch.applied(f.target)
		if patch.ShadowUntil != nil {
			if err := f.shadow(p, &next); err != nil {
				return next, err
			}
		}
		return next, f.mayWiden(p, &next)
	})
}

// Enable makes a disabled key usable again. Enabling an enabled key changes
// nothing. Errors: ErrForbidden, authz.ErrNotFound, ErrRevoked, ErrFamilyFull.
func (s *Service) Enable(ctx context.Context, p Principal, ref string) (authz.Record, error) {
	if err := p.Require(UpdateKeys); err != nil {
		return authz.Record{}, err
	}
	return s.change(ctx, p, ref, nil, actionKeyEnable, func(f *family) (authz.Record, error) {
		next := f.target
		next.Active = true
		return next, f.mayWiden(p, &next)
	})
}

// Disable takes a key out of service until it is enabled. Disabling a disabled
// key changes nothing. Errors: ErrForbidden, authz.ErrNotFound, ErrRevoked.
func (s *Service) Disable(ctx context.Context, p Principal, ref string) (authz.Record, error) {
	if err := p.Require(UpdateKeys); err != nil {
		return authz.Record{}, err
	}
	return s.change(ctx, p, ref, nil, actionKeyDisable, func(f *family) (authz.Record, error) {
		next := f.target
		next.Active = false
		return next, p.mayStop(&f.target)
	})
}

// change writes the record that becomes returns, for one key that is not revoked.
func (s *Service) change(ctx context.Context, p Principal, ref string, roles []string, action string, becomes func(*family) (authz.Record, error)) (authz.Record, error) {
	var unchanged authz.Record
	written, err := s.alter(ctx, p, ref, roles, func(f family) (authz.Mutation, error) {
		var m authz.Mutation
		if !f.target.RevokedAt.IsZero() {
			return m, fmt.Errorf("key %s: %w", f.target.Prefix, ErrRevoked)
		}
		next, err := becomes(&f)
		if err != nil {
			return m, err
		}
		if maps.Equal(keyFacts(&f.target), keyFacts(&next)) {
			unchanged = f.target
			return m, nil
		}
		if err := f.roomFor(&next); err != nil {
			return m, err
		}
		next.UpdatedAt = f.now
		m.Update = []authz.Record{next}
		return m, s.recordKey(&m, p, f.now, action, &f.target, &next, nil)
	})
	if err != nil {
		return authz.Record{}, err
	}
	if len(written) == 0 {
		return unchanged, nil
	}
	return written[0], nil
}

// mayWiden returns ErrForbidden unless the principal may grant all that the target has,
// and all that it will have. This includes what its shadow mode softens, since shadow
// mode in effect grants that.
func (f *family) mayWiden(p Principal, next *authz.Record) error {
	for _, rec := range []*authz.Record{&f.target, next} {
		if err := f.roles.readable(rec); err != nil {
			return err
		}
		rights, err := f.roles.rights(rec)
		if err != nil {
			return err
		}
		if err := mayHave(rec, rights); err != nil {
			return err
		}
		if err := p.coverKey(rec, rights); err != nil {
			return err
		}
	}
	if !next.ShadowUntil.IsZero() && f.now.Before(next.ShadowUntil) {
		return p.coverScopes(next.ShadowScopes)
	}
	return nil
}

// validatePatch returns the patch in canonical form.
func (s *Service) validatePatch(ctx context.Context, patch Patch) (Patch, error) {
	v := &Problems{Format: s.format}
	if patch.Name != nil {
		patch.Name = new(v.name(*patch.Name))
	}
	if patch.Scopes != nil {
		patch.Scopes = new(v.Scopes("scopes", *patch.Scopes))
	}
	if patch.ExpiresAt != nil {
		patch.ExpiresAt = new(v.Expiry(*patch.ExpiresAt, s.now()))
	}
	if patch.ShadowUntil != nil {
		patch.ShadowUntil = new(v.shadow(*patch.ShadowUntil, s.now()))
	}
	if patch.Project != nil {
		v.project(*patch.Project)
	}
	if patch.AllowedCIDRs != nil {
		patch.AllowedCIDRs = new(v.CIDRs(*patch.AllowedCIDRs))
	}
	if patch.Metadata != nil {
		v.metadata(*patch.Metadata)
		patch.Metadata = new(maps.Clone(*patch.Metadata))
	}
	if patch.Rate != nil {
		v.rate(*patch.Rate)
	}
	if patch.Roles != nil {
		patch.Roles = new(v.roles(*patch.Roles))
		if len(*patch.Roles) <= MaxRoles {
			roles, err := s.readRoles(ctx, *patch.Roles)
			if err != nil {
				return patch, err
			}
			v.known(*patch.Roles, roles)
		}
	}
	return patch, v.Err()
}

// applied returns rec with the patch applied.
func (patch *Patch) applied(rec authz.Record) authz.Record {
	set(&rec.Name, patch.Name)
	set(&rec.Scopes, patch.Scopes)
	set(&rec.Roles, patch.Roles)
	set(&rec.ExpiresAt, patch.ExpiresAt)
	set(&rec.Project, patch.Project)
	set(&rec.AllowedCIDRs, patch.AllowedCIDRs)
	set(&rec.Metadata, patch.Metadata)
	set(&rec.Rate, patch.Rate)
	set(&rec.ShadowUntil, patch.ShadowUntil)
	return rec
}

func set[T any](field *T, value *T) {
	if value != nil {
		*field = *value
	}
}
