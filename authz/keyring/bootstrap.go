package keyring

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"extauthz/authz"
)

// errAdministered ends the transaction of a bootstrap that has found an administrator.
var errAdministered = errors.New("there is an administrator")

// Bootstrap makes the first administrator if there is none. Its scopes are all of the
// reserved resource, and it may grant everything else in all projects. made is false, and
// nothing is written, if an administrator exists, even a disabled or expired one. A
// revoked one does not count: after the last administrator was revoked, the next start
// makes another one.
//
// given is the key to use; if it is empty, a key is generated. It must be a whole key of
// the configured format. A second call with the same key changes nothing. If the key was
// revoked and there is no other administrator, the error is ErrRevoked. Replicas may call
// at the same time: only one makes the key.
func (s *Service) Bootstrap(ctx context.Context, given authz.Secret) (created Created, made bool, err error) {
	environment, prefix, err := s.givenKey(given)
	if err != nil {
		return Created{}, false, fmt.Errorf("bootstrap key: %w", err)
	}
	if there, err := s.store.HasAdministrator(ctx); err != nil || there {
		return Created{}, false, err
	}
	rec, err := s.administrator("first administrator", environment)
	if err != nil {
		return Created{}, false, err
	}
	err = retryCollision(func() error {
		key, err := s.mintOrAdopt(&rec, given, prefix)
		if err != nil {
			return err
		}
		created.Key = key.secret
		created.Record, err = s.insertFirst(ctx, key.NewKey)
		return err
	})
	switch {
	case errors.Is(err, errAdministered):
		return Created{}, false, nil
	case errors.Is(err, authz.ErrConflict):
		return Created{}, false, fmt.Errorf("bootstrap key: another key, which is no administrator, has its prefix: give another: %w", err)
	case err != nil:
		return Created{}, false, err
	}
	s.log.InfoContext(ctx, "first administrator made", "key_id", created.Record.ID, "prefix", created.Record.Prefix)
	return created, true, nil
}

// givenKey returns environment and prefix of the key; for an empty key, the first
// environment and no prefix.
func (s *Service) givenKey(given authz.Secret) (environment, prefix string, err error) {
	if given.Len() == 0 {
		return s.environments[0], "", nil
	}
	parsed, ok := s.format.Parse(given)
	if !ok {
		return "", "", fmt.Errorf("%w: it is no whole key of the configured brand and environments with a right checksum", ErrInvalid)
	}
	return strings.Clone(parsed.Environment), strings.Clone(parsed.Prefix), nil
}

// administrator returns the record of an administrator that may do everything.
func (s *Service) administrator(name, environment string) (authz.Record, error) {
	scopes, err := authz.NewScopes([]authz.Scope{{Resource: authz.ReservedResource, Actions: []string{"*"}}})
	if err != nil {
		return authz.Record{}, err
	}
	grants, err := authz.NewScopes([]authz.Scope{{Resource: "*", Actions: []string{"*"}}})
	if err != nil {
		return authz.Record{}, err
	}
	now := s.now()
	return authz.Record{
		UserID: "administrator", Name: name, Scopes: scopes,
		Grants: authz.Grants{Scopes: grants, Projects: []string{AllProjects}},
		Active: true, CreatedAt: now, UpdatedAt: now, Environment: environment,
	}, nil
}

func (s *Service) mintOrAdopt(rec *authz.Record, given authz.Secret, prefix string) (minted, error) {
	if given.Len() > 0 {
		return s.adopt(rec, "", given, prefix)
	}
	return s.mint(rec, "")
}

// insertFirst stores the key if, under the bootstrap lock, there is still no
// administrator.
func (s *Service) insertFirst(ctx context.Context, key authz.NewKey) (authz.Record, error) {
	written, err := s.mutate(ctx, Principal{System: true}, authz.Selection{Administrators: true}, func(administrators []authz.Record) (authz.Mutation, error) {
		m := authz.Mutation{Create: []authz.NewKey{key}}
		var reused bool
		for _, rec := range administrators { // an unreadable one counts: see HasAdministrator
			if rec.RevokedAt.IsZero() {
				return authz.Mutation{}, errAdministered
			}
			reused = reused || rec.Prefix == key.Record.Prefix
		}
		if reused {
			return authz.Mutation{}, fmt.Errorf("bootstrap key %s: %w", key.Record.Prefix, ErrRevoked)
		}
		return m, s.recordKey(&m, Principal{System: true}, key.Record.CreatedAt, actionKeyCreate, &authz.Record{}, &key.Record, nil)
	})
	if err != nil {
		return authz.Record{}, err
	}
	return written[0], nil
}
