package administrators

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"extauthz/authz"
	"extauthz/authz/keyring"
)

// CreateRequest describes the administrator to create.
type CreateRequest struct {
	Name        string // see NameForm; unique
	Description string // at most keyring.MaxDescription characters
	Roles       []string
	Grants      authz.Grants
	Networks    []netip.Prefix // none: every network
	ExpiresAt   time.Time      // zero: never
}

// Made is an administrator with its keys, and with the secret of a key that was just made.
type Made struct {
	Administrator authz.Administrator
	Keys          []authz.Record // of its family, newest first
	Permissions   authz.Scopes   // of its roles
	// Key is shown only once and can't be read again.
	Key authz.Secret
}

// Create makes an administrator and its first key. Errors: keyring.ErrForbidden,
// *keyring.ValidationError, authz.ErrConflict for a name that is taken.
func (s *Service) Create(ctx context.Context, p keyring.Principal, r CreateRequest) (Made, error) {
	if err := p.Require(keyring.CreateAdministrators); err != nil {
		return Made{}, err
	}
	return s.create(ctx, p, r, p.Actor(), authz.Secret{}, nil)
}

// create makes an administrator. The system itself makes some with a given key, and with
// also, which may add to the change.
func (s *Service) create(ctx context.Context, p keyring.Principal, r CreateRequest, by string, given authz.Secret, also func(*draft) error) (Made, error) {
	var id string
	var key authz.Secret
	after, err := s.change(ctx, p, func(d *draft) error {
		x := authz.Administrator{Name: r.Name, Description: r.Description, Roles: r.Roles, Grants: r.Grants, Networks: r.Networks,
			ExpiresAt: r.ExpiresAt, Active: true, CreatedBy: by, CreatedAt: d.now, UpdatedAt: d.now, Version: firstVersion(d.now)}
		if also != nil {
			if err := also(d); err != nil {
				return err
			}
		}
		if err := s.validate(d, &x, true); err != nil {
			return err
		}
		if len(d.before.Administrators) >= MaxAdministrators && !p.System {
			return nameTaken{fmt.Sprintf("there are %d administrators, as many as there can be: remove others first", MaxAdministrators)}
		}
		var err error
		if x.ID, err = s.newID(); err != nil {
			return err
		}
		made, err := s.firstKey(&x, given, d.now)
		if err != nil {
			return err
		}
		id, key, x.Family = x.ID, made.secret, made.Record.Family
		d.change.Put = append(d.change.Put, x)
		d.change.CreateKeys = append(d.change.CreateKeys, made.NewKey)
		return s.recordKey(d, actionCreate, &authz.Administrator{}, &x, &made.Record, nil)
	})
	if err != nil {
		return Made{}, err
	}
	return made(after, id, key), nil
}

func made(after authz.Administration, id string, key authz.Secret) Made {
	x := byID(after.Administrators, id)
	return Made{Administrator: *x, Keys: records(after.FamilyKeys(x.Family)), Permissions: PowerOf(x, after.Roles).Permissions, Key: key}
}

// records returns the keys, newest first.
func records(keys []authz.NewKey) []authz.Record {
	out := make([]authz.Record, len(keys))
	for i := range keys {
		out[i] = keys[i].Record
	}
	slices.SortFunc(out, func(a, b authz.Record) int {
		if c := b.CreatedAt.Compare(a.CreatedAt); c != 0 {
			return c
		}
		return strings.Compare(b.ID, a.ID)
	})
	return out
}

// Patch changes an administrator. A nil field changes nothing.
type Patch struct {
	Name        *string
	Description *string
	Roles       *[]string
	Grants      *authz.Grants
	Networks    *[]netip.Prefix
	ExpiresAt   *time.Time // in the future, or zero for never
	// IfVersion is the version that the caller has read; if it is not the present one, the
	// error is authz.ErrPreconditionFailed. 0 means any version.
	IfVersion uint64
}

// Update changes an administrator, and its keys with it. A patch that changes nothing
// writes nothing. Errors: keyring.ErrForbidden, authz.ErrNotFound,
// *keyring.ValidationError, authz.ErrConflict, authz.ErrPreconditionFailed, ErrLastOwner.
func (s *Service) Update(ctx context.Context, p keyring.Principal, ref string, patch Patch) (Made, error) {
	if err := p.Require(keyring.UpdateAdministrators); err != nil {
		return Made{}, err
	}
	return s.alter(ctx, p, ref, patch.IfVersion, actionUpdate, func(d *draft, x *authz.Administrator) error {
		assign(&x.Name, patch.Name)
		assign(&x.Description, patch.Description)
		assign(&x.Roles, patch.Roles)
		assign(&x.Grants, patch.Grants)
		assign(&x.Networks, patch.Networks)
		assign(&x.ExpiresAt, patch.ExpiresAt)
		return s.validate(d, x, patch.ExpiresAt != nil)
	})
}

// Enable puts a disabled administrator into service again. Its errors are those of Update.
func (s *Service) Enable(ctx context.Context, p keyring.Principal, ref string) (Made, error) {
	if err := p.Require(keyring.UpdateAdministrators); err != nil {
		return Made{}, err
	}
	return s.alter(ctx, p, ref, 0, actionEnable, func(_ *draft, x *authz.Administrator) error { x.Active = true; return nil })
}

// Disable takes an administrator and its keys out of service until it is enabled. An
// administrator disables itself without a permission. Its errors are those of Update.
func (s *Service) Disable(ctx context.Context, p keyring.Principal, ref string) (Made, error) {
	return s.alter(ctx, p, ref, 0, actionDisable, func(_ *draft, x *authz.Administrator) error { x.Active = false; return nil })
}

// Remove ends an administrator for ever and revokes its keys. An administrator removes itself
// without a permission. Its errors are those of Update.
func (s *Service) Remove(ctx context.Context, p keyring.Principal, ref, reason string, ifVersion uint64) error {
	v := &keyring.Problems{Format: s.format}
	v.Text("reason", reason, keyring.MaxReason)
	if err := v.Err(); err != nil {
		return err
	}
	_, err := s.change(ctx, p, func(d *draft) error {
		x, err := d.own(ref, keyring.RemoveAdministrators)
		if err != nil {
			return err
		}
		if err := atVersion(&x, ifVersion); err != nil {
			return err
		}
		return s.remove(d, &x, reason)
	})
	return err
}

// remove adds the removal of an administrator to a change.
func (s *Service) remove(d *draft, x *authz.Administrator, reason string) error {
	d.change.Delete = append(d.change.Delete, x.ID)
	for _, k := range d.before.FamilyKeys(x.Family) {
		if k.Record.RevokedAt.IsZero() {
			next := k.Record
			next.Active, next.RevokedAt, next.UpdatedAt = false, d.now, d.now
			d.change.UpdateKeys = append(d.change.UpdateKeys, next)
		}
	}
	extra := map[string]string{}
	if reason != "" {
		extra["reason"] = reason
	}
	return s.record(d, actionRemove, x, &authz.Administrator{ID: x.ID, Name: x.Name}, extra)
}

// alter changes one administrator, and what follows from it in its keys.
func (s *Service) alter(ctx context.Context, p keyring.Principal, ref string, ifVersion uint64, action string, become func(*draft, *authz.Administrator) error) (Made, error) {
	var id string
	after, err := s.change(ctx, p, func(d *draft) error {
		was, err := d.own(ref, keyring.UpdateAdministrators)
		if err != nil {
			return err
		}
		if err := atVersion(&was, ifVersion); err != nil {
			return err
		}
		is := was
		if err := become(d, &is); err != nil {
			return err
		}
		id = was.ID
		if equalFacts(&was, &is) {
			return nil
		}
		d.put(is)
		for i, rec := range records(d.before.FamilyKeys(is.Family)) {
			if next, changed := derived(rec, &was, &is, i == 0, d.now); changed {
				d.change.UpdateKeys = append(d.change.UpdateKeys, next)
			}
		}
		return s.record(d, action, &was, &is, nil)
	})
	if err != nil {
		return Made{}, err
	}
	return made(after, id, authz.Secret{}), nil
}

func atVersion(x *authz.Administrator, version uint64) error {
	if version != 0 && version != x.Version {
		return fmt.Errorf("administrator %s: %w: read it again", x.Name, authz.ErrPreconditionFailed)
	}
	return nil
}

func assign[T any](field *T, value *T) {
	if value != nil {
		*field = *value
	}
}

// Get returns the administrator that ref, an id or a name, names, or authz.ErrNotFound. A
// caller may always read itself.
func (s *Service) Get(ctx context.Context, p keyring.Principal, ref string) (Made, error) {
	a, err := s.store.Administration(ctx)
	if err != nil {
		return Made{}, err
	}
	d := draft{p: p, before: a}
	x, err := d.own(ref, keyring.ReadAdministrators)
	if err != nil {
		return Made{}, err
	}
	return made(a, x.ID, authz.Secret{}), nil
}

// List returns a page of the administrators that the principal sees, by name, those after
// after. createdBy, unless it is empty, is the id of the administrator that made them.
func (s *Service) List(ctx context.Context, p keyring.Principal, createdBy, after string, limit int) ([]Made, error) {
	if err := p.Require(keyring.ReadAdministrators); err != nil {
		return nil, err
	}
	if limit < 1 || limit > keyring.MaxLimit {
		return nil, &keyring.ValidationError{Fields: []keyring.FieldError{{Field: "limit", Message: fmt.Sprintf("must be 1 to %d", keyring.MaxLimit)}}}
	}
	a, err := s.store.Administration(ctx)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(a.Administrators, func(x, y authz.Administrator) int { return strings.Compare(x.Name, y.Name) })
	var page []Made
	for i := range a.Administrators {
		x := &a.Administrators[i]
		if len(page) < limit && x.Name > after && sees(p, x) && (createdBy == "" || x.CreatedBy == createdBy) {
			page = append(page, made(a, x.ID, authz.Secret{}))
		}
	}
	return page, nil
}
