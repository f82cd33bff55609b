package administrators

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"extauthz/authz"
	"extauthz/authz/keyring"
)

// keysUser is the user id of all administrators' keys. An administrator's name is not used,
// since an upstream could have a user of that name.
const keysUser = "administrator"

// newKey is a key together with its secret.
type newKey struct {
	authz.NewKey
	secret authz.Secret
}

// firstKey makes the first key of an administrator from the given secret or, if that is
// empty, from a new one.
func (s *Service) firstKey(x *authz.Administrator, given authz.Secret, now time.Time) (newKey, error) {
	rec := authz.Record{UserID: keysUser, Name: x.Name, Active: x.Active, ExpiresAt: x.ExpiresAt, AllowedCIDRs: x.Networks,
		CreatedAt: now, UpdatedAt: now, Environment: s.format.Environments()[0]}
	return s.mint(&rec, given)
}

// mint returns a key of the record, with an id, a prefix, a secret, and a family unless the
// record has one.
func (s *Service) mint(rec *authz.Record, given authz.Secret) (newKey, error) {
	key, prefix := given, ""
	if given.Len() == 0 {
		var err error
		if key, prefix, err = s.format.Generate(rec.Environment, s.random); err != nil {
			return newKey{}, fmt.Errorf("generate a key: %w", err)
		}
	} else {
		parsed, ok := s.format.Parse(given)
		if !ok {
			return newKey{}, fmt.Errorf("%w: it is no whole key of the configured brand and environments with a right checksum", keyring.ErrInvalid)
		}
		prefix, rec.Environment = parsed.Prefix, strings.Clone(parsed.Environment)
	}
	id, err := s.newID()
	if err != nil {
		return newKey{}, err
	}
	made := *rec
	made.ID, made.Prefix = id, strings.Clone(prefix)
	if made.Family == "" {
		made.Family = id
	}
	return newKey{authz.NewKey{Record: made, Verifier: s.peppers().Verifier(key)}, key}, nil
}

// derived returns a key as it is after its administrator changed from was to is. State, end
// and networks of a key follow its administrator, so that they also apply on routes that
// require only a valid key. An older key of the family never becomes valid again.
//
// In former releases keys themselves could have rights over keys, and replicas of such a
// release still trust them. So every change removes these rights.
func derived(rec authz.Record, was, is *authz.Administrator, newest bool, now time.Time) (next authz.Record, changed bool) {
	if !rec.RevokedAt.IsZero() {
		return rec, false
	}
	next = rec // of one that can't be read, a store writes the state alone
	next.Scopes, next.Grants = rec.Scopes.Ordinary(), authz.Grants{}
	if was.Name != is.Name {
		next.Name = is.Name
	}
	if !reflect.DeepEqual(was.Networks, is.Networks) {
		next.AllowedCIDRs = is.Networks
	}
	if was.Active != is.Active {
		next.Active = is.Active && (newest || rec.Active)
	}
	if !was.ExpiresAt.Equal(is.ExpiresAt) {
		if next.ExpiresAt = is.ExpiresAt; !newest {
			next.ExpiresAt = earlier(rec.ExpiresAt, is.ExpiresAt)
		}
	}
	if reflect.DeepEqual(rec, next) {
		return rec, false
	}
	next.UpdatedAt = now
	return next, true
}

// earlier returns the earlier of two ends; zero: none.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// RotateOptions defines how an administrator's key is replaced.
type RotateOptions struct {
	// Grace is how long the present key stays valid, 0 (it ends at once) to
	// keyring.MaxGrace; nil: keyring.DefaultGrace.
	Grace     *time.Duration
	IfVersion uint64 // as in Patch
}

// Rotate issues another key for an administrator. The newest one that works ends with the
// grace, older ones at once. An administrator rotates its own key without a permission, but
// only by calling with its newest one: a key that was replaced, maybe since it leaked, must
// not end its successor and get another one for itself.
// Errors: keyring.ErrForbidden, authz.ErrNotFound, *keyring.ValidationError,
// keyring.ErrDisabled, keyring.ErrExpired, authz.ErrPreconditionFailed.
func (s *Service) Rotate(ctx context.Context, p keyring.Principal, ref string, o RotateOptions) (Made, error) {
	grace := keyring.DefaultGrace
	if o.Grace != nil {
		grace = *o.Grace
	}
	if grace < 0 || grace > keyring.MaxGrace {
		return Made{}, &keyring.ValidationError{Fields: []keyring.FieldError{{Field: "grace", Message: fmt.Sprintf("must be 0 to %s", keyring.MaxGrace)}}}
	}
	var id string
	var key authz.Secret
	after, err := s.change(ctx, p, func(d *draft) error {
		x, err := d.own(ref, keyring.RotateAdministrators)
		if err != nil {
			return err
		}
		if err := atVersion(&x, o.IfVersion); err != nil {
			return err
		}
		switch x.Status(d.now) {
		case authz.StatusDisabled:
			return fmt.Errorf("administrator %s: %w", x.Name, keyring.ErrDisabled)
		case authz.StatusExpired:
			return fmt.Errorf("administrator %s: %w", x.Name, keyring.ErrExpired)
		}
		id = x.ID
		key, err = s.rotate(d, &x, grace)
		return err
	})
	if err != nil {
		return Made{}, err
	}
	return made(after, id, key), nil
}

// rotate adds a rotation to the change.
func (s *Service) rotate(d *draft, x *authz.Administrator, grace time.Duration) (authz.Secret, error) {
	family := records(d.before.FamilyKeys(x.Family))
	own := x.ID == d.p.AdministratorID && newestKey(family, d.now) == d.p.KeyID
	if !own {
		if err := d.p.Require(keyring.RotateAdministrators); err != nil {
			return authz.Secret{}, fmt.Errorf("%w; without it, only the newest key of an administrator rotates its keys", err)
		}
	}
	var next newKey
	var err error
	if len(family) == 0 {
		next, err = s.firstKey(x, authz.Secret{}, d.now)
	} else {
		next, err = s.successor(d, x, &family[0], own)
	}
	if err != nil {
		return authz.Secret{}, err
	}
	x.Family = next.Record.Family
	d.put(*x)
	d.change.CreateKeys = append(d.change.CreateKeys, next.NewKey)
	until, first := d.now.Add(grace), true
	for _, old := range family {
		if old.Status(d.now) == authz.StatusRevoked || old.Status(d.now) == authz.StatusExpired {
			continue
		}
		end := d.now
		if first && old.Active && old.Unreadable == "" {
			end, first = until, false
		}
		old.ExpiresAt, old.UpdatedAt = earlier(old.ExpiresAt, end), d.now
		old.Scopes, old.Grants = old.Scopes.Ordinary(), authz.Grants{} // see derived
		d.change.UpdateKeys = append(d.change.UpdateKeys, old)
	}
	return next.secret, s.recordKey(d, actionRotate, x, x, &next.Record, map[string]string{"grace": grace.String()})
}

// newestKey returns the id of the newest of the keys that works; they are sorted.
func newestKey(family []authz.Record, now time.Time) string {
	for i := range family {
		if family[i].Unreadable == "" && family[i].Status(now) == authz.StatusActive {
			return family[i].ID
		}
	}
	return ""
}

// successor makes the key that follows last, which is later by its time too, whatever the
// clock says. A key that is from before there were administrators may also serve traffic:
// its successor does too. So the caller has to be one that may grant that anyway, unless
// it already has it: own means that it calls with that key.
func (s *Service) successor(d *draft, x *authz.Administrator, last *authz.Record, own bool) (newKey, error) {
	traffic := len(last.Scopes.Ordinary())+len(last.Roles) > 0
	if traffic && !d.p.System && !own && d.power().lacksRights(Power{Grants: owner().Grants}) != "" {
		return newKey{}, fmt.Errorf("%w: the key of %s also serves traffic, so only an administrator who may grant everything rotates it", keyring.ErrForbidden, x.Name)
	}
	rec := *last
	rec.Scopes, rec.Grants = last.Scopes.Ordinary(), authz.Grants{}
	rec.Name, rec.Active, rec.ExpiresAt, rec.AllowedCIDRs = x.Name, true, x.ExpiresAt, x.Networks
	rec.RotatedFrom, rec.RevokedAt, rec.CreatedAt, rec.UpdatedAt, rec.Version = last.ID, time.Time{}, d.now, d.now, 0
	if !rec.CreatedAt.After(last.CreatedAt) {
		rec.CreatedAt = last.CreatedAt.Add(time.Microsecond)
	}
	rec.ShadowUntil, rec.ShadowEnd, rec.ShadowScopes, rec.Unreadable = time.Time{}, time.Time{}, nil, ""
	if !slices.Contains(s.format.Environments(), rec.Environment) {
		rec.Environment = s.format.Environments()[0]
	}
	return s.mint(&rec, authz.Secret{})
}

// EndKey revokes one key of an administrator, such as the old one before its grace ends.
// An administrator does it without a permission for its own keys. Errors:
// keyring.ErrForbidden, authz.ErrNotFound, ErrLastOwner.
func (s *Service) EndKey(ctx context.Context, p keyring.Principal, ref, keyRef string) (Made, error) {
	var id string
	after, err := s.change(ctx, p, func(d *draft) error {
		x, err := d.own(ref, keyring.UpdateAdministrators)
		if err != nil {
			return err
		}
		id = x.ID
		for _, k := range d.before.FamilyKeys(x.Family) {
			if k.Record.ID != keyRef && k.Record.Prefix != keyRef {
				continue
			}
			if k.Record.RevokedAt.IsZero() {
				next := k.Record
				next.Active, next.RevokedAt, next.UpdatedAt = false, d.now, d.now
				d.change.UpdateKeys = append(d.change.UpdateKeys, next)
				d.put(x)
				return s.recordKey(d, actionEndKey, &x, &x, &next, nil)
			}
			return nil
		}
		return fmt.Errorf("key: %w: the administrator %s has none of that id or prefix", authz.ErrNotFound, x.Name)
	})
	if err != nil {
		return Made{}, err
	}
	return made(after, id, authz.Secret{}), nil
}
