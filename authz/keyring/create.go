package keyring

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"strings"
	"time"

	"extauthz/authz"
)

// CreateRequest describes the key to create.
type CreateRequest struct {
	UserID       string       // 1 to 256 bytes, stored in NFC; never changes afterwards
	Name         string       // 1 to 200 characters
	Environment  string       // empty: the first that is configured
	Scopes       authz.Scopes // need not be canonical
	Roles        []string     // names of roles that exist, at most 32
	ExpiresAt    time.Time    // zero: never
	Project      string
	AllowedCIDRs []netip.Prefix // none: every network
	Metadata     map[string]string
	Rate         authz.Rate // zero: none of its own

	// IdempotencyKey, 1 to 255 bytes, makes repeated calls of a principal with the same
	// request count as one call. Empty: every call makes a key.
	IdempotencyKey string `json:"-"`
}

// Created is a key that was just made.
type Created struct {
	Record authz.Record
	// Key is shown only once and can't be read again. Empty if Replayed.
	Key authz.Secret
	// Replayed: the key was made by an earlier call under the same idempotency key.
	// A caller that lost that call's answer has to rotate the key.
	Replayed bool
}

// Create issues a key. Errors: ErrForbidden, *ValidationError,
// authz.ErrIdempotencyReuse.
func (s *Service) Create(ctx context.Context, p Principal, r CreateRequest) (Created, error) {
	if err := p.Require(CreateKeys); err != nil {
		return Created{}, err
	}
	now := s.now()
	r, roles, err := s.validateCreate(ctx, r, now)
	if err != nil {
		return Created{}, err
	}
	rec := authz.Record{
		UserID: r.UserID, Name: r.Name, Scopes: r.Scopes, Roles: r.Roles,
		Active: true, ExpiresAt: r.ExpiresAt, CreatedAt: now, UpdatedAt: now,
		Environment: r.Environment, Project: r.Project, AllowedCIDRs: r.AllowedCIDRs,
		Metadata: r.Metadata, Rate: r.Rate,
	}
	if err := roles.readable(&rec); err != nil {
		return Created{}, err
	}
	rights, err := roles.rights(&rec)
	if err != nil {
		return Created{}, err
	}
	if err := mayHave(&rec, rights); err != nil {
		return Created{}, err
	}
	if err := p.coverKey(&rec, rights); err != nil {
		return Created{}, err
	}
	var created Created
	err = retryCollision(func() error {
		key, err := s.mint(&rec, "")
		if err != nil {
			return err
		}
		created.Key = key.secret
		created.Record, err = s.insert(ctx, p, key.NewKey, r)
		return err
	})
	var replay *authz.IdempotencyError
	if errors.As(err, &replay) {
		rec, err := s.find(ctx, p, replay.KeyID)
		if errors.Is(err, authz.ErrNotFound) {
			return Created{}, fmt.Errorf("idempotency key: %w, and the key that it made was deleted since: send another one", authz.ErrConflict)
		}
		return Created{Record: rec, Replayed: err == nil}, err
	}
	if err != nil {
		return Created{}, err
	}
	return created, nil
}

// validateCreate returns the request in canonical form and the roles it names.
func (s *Service) validateCreate(ctx context.Context, r CreateRequest, now time.Time) (CreateRequest, roleSet, error) {
	v := &Problems{Format: s.format}
	if r.Environment == "" {
		r.Environment = s.environments[0]
	}
	r.UserID = v.userID(r.UserID)
	r.Name = v.name(r.Name)
	v.environment(r.Environment, s.environments)
	r.Scopes = v.Scopes("scopes", r.Scopes)
	r.Roles = v.roles(r.Roles)
	r.ExpiresAt = v.Expiry(r.ExpiresAt, now)
	v.project(r.Project)
	r.AllowedCIDRs = v.CIDRs(r.AllowedCIDRs)
	v.metadata(r.Metadata)
	r.Metadata = maps.Clone(r.Metadata)
	v.rate(r.Rate)
	if len(r.IdempotencyKey) > MaxIdempotencyKey {
		v.Add("idempotency_key", "must have at most %d bytes", MaxIdempotencyKey)
	}
	v.NoKey("idempotency_key", r.IdempotencyKey)
	if len(r.Roles) > MaxRoles {
		return r, nil, v.Err()
	}
	roles, err := s.readRoles(ctx, r.Roles)
	if err != nil {
		return r, nil, err
	}
	v.known(r.Roles, roles)
	return r, roles, v.Err()
}

// minted is a new key with its secret for the owner.
type minted struct {
	authz.NewKey
	secret authz.Secret
}

// mint generates a key for the record. The record gets an id, a prefix, and a family (a
// new one if family is empty).
func (s *Service) mint(rec *authz.Record, family string) (minted, error) {
	key, prefix, err := s.format.Generate(rec.Environment, s.random)
	if err != nil {
		return minted{}, fmt.Errorf("generate a key: %w", err)
	}
	return s.adopt(rec, family, key, prefix)
}

// adopt is mint for a key that exists already.
func (s *Service) adopt(rec *authz.Record, family string, key authz.Secret, prefix string) (minted, error) {
	id, err := s.newID()
	if err != nil {
		return minted{}, err
	}
	made := *rec
	made.ID, made.Prefix, made.Family = id, strings.Clone(prefix), family
	if family == "" {
		made.Family = id
	}
	return minted{authz.NewKey{Record: made, Verifier: s.peppers().Verifier(key)}, key}, nil
}

// insert stores the key with its audit row, and with the request's idempotency
// key where there is one.
func (s *Service) insert(ctx context.Context, p Principal, key authz.NewKey, r CreateRequest) (authz.Record, error) {
	m := authz.Mutation{Create: []authz.NewKey{key}}
	if r.IdempotencyKey != "" {
		fingerprint, err := r.fingerprint()
		if err != nil {
			return authz.Record{}, err
		}
		m.Idempotency = &authz.Idempotency{
			Principal: p.Actor(), Key: r.IdempotencyKey, Fingerprint: fingerprint,
			KeyID: key.Record.ID, At: key.Record.CreatedAt,
		}
	}
	if err := s.recordKey(&m, p, key.Record.CreatedAt, actionKeyCreate, &authz.Record{}, &key.Record, nil); err != nil {
		return authz.Record{}, err
	}
	written, err := s.mutate(ctx, authz.Selection{}, func([]authz.Record) (authz.Mutation, error) { return m, nil })
	if err != nil {
		return authz.Record{}, err
	}
	return written[0], nil
}

// fingerprint is the same for equal requests in canonical form.
func (r *CreateRequest) fingerprint() ([]byte, error) {
	text, err := json.Marshal(r) // json sorts maps
	if err != nil {
		return nil, fmt.Errorf("encode the request for its idempotency key: %w", err)
	}
	sum := sha256.Sum256(text)
	return sum[:], nil
}
