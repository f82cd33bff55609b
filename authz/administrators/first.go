package administrators

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"extauthz/authz"
	"extauthz/authz/keyring"
)

// errAdministered ends the transaction of a bootstrap if it finds an administrator.
var errAdministered = errors.New("there is an administrator")

// anOwner returns a request for an administrator that may do and grant everything.
func anOwner(name string) CreateRequest {
	return CreateRequest{Name: name, Roles: []string{Owner}, Grants: owner().Grants}
}

// Bootstrap makes the first administrator, an owner, if there is none. If one exists, made is
// false and nothing is written. A disabled or expired administrator counts too; one whose
// keys are all revoked does not, so that after such a loss the next start helps.
//
// given is the key to use, empty to have one generated. It must be a whole key of the
// configured format. Calling again with the same key changes nothing; with one that was
// used before, and no administrator there, it is keyring.ErrRevoked, or authz.ErrConflict.
// Replicas may call at the same time: one makes the administrator.
func (s *Service) Bootstrap(ctx context.Context, given authz.Secret) (first Made, made bool, err error) {
	if there, err := s.store.HasAdministrator(ctx); err != nil || there {
		return Made{}, false, err
	}
	p := keyring.Principal{System: true, SystemAs: "bootstrap"}
	a, err := s.store.Administration(ctx)
	if err != nil {
		return Made{}, false, err
	}
	first, err = s.create(ctx, p, anOwner(freeName(&a, "first-administrator")), p.SystemAs, given, func(d *draft) error {
		for i := range d.before.Administrators {
			if administers(&d.before, &d.before.Administrators[i]) {
				return errAdministered
			}
		}
		return nil
	})
	switch {
	case errors.Is(err, errAdministered):
		return Made{}, false, nil
	case errors.Is(err, authz.ErrConflict):
		return Made{}, false, s.usedBefore(ctx, given, err)
	case err != nil:
		return Made{}, false, fmt.Errorf("bootstrap key: %w", err)
	}
	s.log.InfoContext(ctx, "first administrator made", "administrator", first.Administrator.Name, "key_id", first.Keys[0].ID, "prefix", first.Keys[0].Prefix)
	return first, true, nil
}

// administers reports whether an administrator has a key that is not revoked, see
// Store.HasAdministrator.
func administers(a *authz.Administration, x *authz.Administrator) bool {
	return slices.ContainsFunc(a.FamilyKeys(x.Family), func(k authz.NewKey) bool { return k.Record.RevokedAt.IsZero() })
}

// usedBefore is the error for a given key that exists already.
func (s *Service) usedBefore(ctx context.Context, given authz.Secret, err error) error {
	if parsed, ok := s.format.Parse(given); ok {
		if rec, findErr := s.store.KeyByRef(ctx, parsed.Prefix); findErr == nil && !rec.RevokedAt.IsZero() {
			return fmt.Errorf("bootstrap key %s: %w", rec.Prefix, keyring.ErrRevoked)
		}
	}
	return fmt.Errorf("bootstrap key: another key has its prefix: give another: %w", err)
}

// recoverActor names a recovery in the audit.
const recoverActor = "admin recover"

// Recovery is how an administrator is recovered.
type Recovery struct {
	Key       authz.Secret // the new administrator's, a whole key of the configured form
	By        string       // the caller's name for the audit, not verified
	EndOthers bool         // remove every other administrator
}

// Recover makes another owner, whatever administrators there are. If the request says so, it
// removes all others in the same transaction. It checks no permission, so it is only for
// people who could write to the database anyway, never for a caller from outside. It returns
// the new administrator and the names of the removed ones. The error for a key that was used
// before is authz.ErrConflict.
func (s *Service) Recover(ctx context.Context, r Recovery) (recovered Made, ended []string, err error) {
	if r.Key.Len() == 0 {
		return Made{}, nil, fmt.Errorf("%w: there is no key for the new administrator", keyring.ErrInvalid)
	}
	p := keyring.Principal{System: true, SystemAs: recoverActor, Name: recoverActor + ": " + r.By, Source: "local"}
	request := anOwner("")
	a, err := s.store.Administration(ctx)
	if err != nil {
		return Made{}, nil, err
	}
	request.Name = freeName(&a, "recovered")
	recovered, err = s.create(ctx, p, request, recoverActor, r.Key, func(d *draft) error {
		ended = nil
		for i := range d.before.Administrators {
			if x := &d.before.Administrators[i]; r.EndOthers {
				ended = append(ended, x.Name)
				if err := s.remove(d, x, recoverActor); err != nil {
					return err
				}
			}
		}
		return nil
	})
	return recovered, ended, err
}

// freeName returns the name, or, if it is taken, the first one with a number.
func freeName(a *authz.Administration, name string) string {
	free := name
	for n := 2; a.Find(free) != nil; n++ {
		free = name + "-" + strconv.Itoa(n)
	}
	return free
}

// HasOwner reports whether an administrator can manage everything at this moment.
func (s *Service) HasOwner(ctx context.Context) (bool, error) {
	a, err := s.store.Administration(ctx)
	if err != nil {
		return false, err
	}
	return s.best(a, s.now(), nil) >= ruler, nil
}

// power is the caller's power before the change.
func (d *draft) power() Power {
	if i := slices.IndexFunc(d.before.Administrators, func(x authz.Administrator) bool { return x.ID == d.p.AdministratorID }); i >= 0 && d.p.AdministratorID != "" {
		return PowerOf(&d.before.Administrators[i], d.before.Roles)
	}
	return Power{Permissions: d.p.Permissions, Grants: d.p.Grants}
}
