package keyring

import (
	"context"
	"fmt"

	"extauthz/authz"
)

// recoverActor names a recovery in the audit.
const recoverActor = "admin recover"

// Recovery defines how an administrator is recovered.
type Recovery struct {
	Key       authz.Secret // the new administrator's, a whole key of the configured form
	By        string       // the caller's name for the audit, not verified
	EndOthers bool         // revoke every other key with a scope of its own on the reserved resource
}

// Recover makes another administrator, whatever administrators there are, and revokes
// those if r.EndOthers is set, all in one transaction. It checks no permission, so it is
// only for people who could write to the database anyway, never for a caller from
// outside. It returns the new key's record and the keys that it revoked. If the new key
// was used before, the error is authz.ErrConflict.
func (s *Service) Recover(ctx context.Context, r Recovery) (made authz.Record, ended []authz.Record, err error) {
	if r.Key.Len() == 0 {
		return authz.Record{}, nil, fmt.Errorf("%w: there is no key for the new administrator", ErrInvalid)
	}
	environment, prefix, err := s.givenKey(r.Key)
	if err != nil {
		return authz.Record{}, nil, err
	}
	rec, err := s.administrator("recovered administrator", environment)
	if err != nil {
		return authz.Record{}, nil, err
	}
	key, err := s.adopt(&rec, "", r.Key, prefix)
	if err != nil {
		return authz.Record{}, nil, err
	}
	p := Principal{System: true, SystemAs: recoverActor, Name: recoverActor + ": " + r.By, Source: "local"}
	written, err := s.mutate(ctx, p, authz.Selection{Administrators: true}, func(there []authz.Record) (authz.Mutation, error) {
		var m authz.Mutation
		if r.EndOthers {
			if m, err = s.revocation(p, there, nil, true, RevokeOptions{Reason: recoverActor}); err != nil {
				return m, err
			}
		}
		m.Create = []authz.NewKey{key.NewKey}
		return m, s.recordKey(&m, p, rec.CreatedAt, actionKeyCreate, &authz.Record{}, &key.Record, nil)
	})
	if err != nil {
		return authz.Record{}, nil, err
	}
	return written[0], written[1:], nil
}

// HasOwner reports whether a key can manage everything at this moment.
func (s *Service) HasOwner(ctx context.Context) (bool, error) {
	a, err := s.store.Administration(ctx)
	if err != nil {
		return false, err
	}
	return s.best(a, s.now(), nil) >= owner, nil
}
