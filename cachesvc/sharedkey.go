package cachesvc

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/netip"
	"time"

	"extauthz/authz"
	"extauthz/cachesvc/internal/l1"
	"extauthz/cachesvc/seal"
)

// sharedKey is a key as it is stored in the shared store, under
// apikey:validation:<prefix>. Its digest is stored sealed or not at all. The seal covers
// all other fields too.
type sharedKey struct {
	ID           string            `json:"id"`
	UserID       string            `json:"user_id"`
	Name         string            `json:"name"`
	Prefix       string            `json:"key_prefix"`
	Scopes       authz.Scopes      `json:"scopes"`
	Active       bool              `json:"is_active"`
	ExpiresAt    *time.Time        `json:"expires_at"`
	CreatedAt    time.Time         `json:"created_at"`
	UpdatedAt    time.Time         `json:"updated_at"`
	RevokedAt    *time.Time        `json:"revoked_at,omitempty"`
	Environment  string            `json:"environment,omitempty"`
	RotatedFrom  string            `json:"rotated_from,omitempty"`
	Family       string            `json:"family,omitempty"`
	Project      string            `json:"project,omitempty"`
	AllowedCIDRs []netip.Prefix    `json:"allowed_cidrs,omitempty"`
	Metadata     map[string]string `json:"metadata,omitempty"`
	Rate         authz.Rate        `json:"rate,omitzero"`
	Roles        []string          `json:"roles,omitempty"`
	GrantScopes  authz.Scopes      `json:"grant_scopes,omitempty"`
	Projects     []string          `json:"grant_projects,omitempty"`
	GrantUsers   []string          `json:"grant_users,omitempty"`
	ShadowUntil  *time.Time        `json:"shadow_until,omitempty"`
	ShadowEnd    *time.Time        `json:"shadow_end,omitempty"`
	ShadowScopes authz.Scopes      `json:"shadow_scopes,omitempty"`
	Version      uint64            `json:"version"`
	source
	seal.Sealed
}

// source holds when, and in which epoch, a shared value was read from the database.
type source struct {
	Epoch string    `json:"epoch"`
	AsOf  time.Time `json:"as_of"` // the database's time at the start of the read
}

// sealedVerifier is the secret that is stored with a sharedKey, encrypted.
type sealedVerifier struct {
	Alg      authz.HashAlg `json:"alg"`
	PepperID string        `json:"pepper_id,omitempty"`
	Digest   string        `json:"digest"`
}

func newSharedKey(r *authz.Record, from source) *sharedKey {
	from.AsOf = from.AsOf.UTC()
	return &sharedKey{ID: r.ID, UserID: r.UserID, Name: r.Name, Prefix: r.Prefix, Scopes: r.Scopes, Active: r.Active,
		ExpiresAt: optional(r.ExpiresAt), CreatedAt: r.CreatedAt.UTC(), UpdatedAt: r.UpdatedAt.UTC(), RevokedAt: optional(r.RevokedAt),
		Environment: r.Environment, RotatedFrom: r.RotatedFrom, Family: r.Family, Project: r.Project, AllowedCIDRs: r.AllowedCIDRs,
		Metadata: r.Metadata, Rate: r.Rate, Roles: r.Roles, GrantScopes: r.Grants.Scopes, Projects: r.Grants.Projects,
		GrantUsers: r.Grants.Users, ShadowUntil: optional(r.ShadowUntil), ShadowEnd: optional(r.ShadowEnd), ShadowScopes: r.ShadowScopes, Version: r.Version, source: from}
}

func (k *sharedKey) record() authz.Record {
	return authz.Record{ID: k.ID, UserID: k.UserID, Name: k.Name, Prefix: k.Prefix, Scopes: k.Scopes, Active: k.Active,
		ExpiresAt: required(k.ExpiresAt), CreatedAt: k.CreatedAt, UpdatedAt: k.UpdatedAt, RevokedAt: required(k.RevokedAt),
		Environment: k.Environment, RotatedFrom: k.RotatedFrom, Family: k.Family, Project: k.Project, AllowedCIDRs: k.AllowedCIDRs,
		Metadata: k.Metadata, Rate: k.Rate, Roles: k.Roles, Grants: authz.Grants{Scopes: k.GrantScopes, Projects: k.Projects, Users: k.GrantUsers},
		ShadowUntil: required(k.ShadowUntil), ShadowEnd: required(k.ShadowEnd), ShadowScopes: k.ShadowScopes, Version: k.Version}
}

// encodeKey encodes a key, with its verifier if there is a sealing key.
func encodeKey(keys seal.Keys, c *l1.Credential, from source) ([]byte, error) {
	k := newSharedKey(&c.Record, from)
	if len(keys) == 0 {
		return json.Marshal(k)
	}
	digest, ok := c.Verifier.Digest.Bytes()
	if !ok {
		return nil, fmt.Errorf("key %s has no digest", k.Prefix)
	}
	secret, err := json.Marshal(sealedVerifier{c.Verifier.Alg, c.Verifier.PepperID, hex.EncodeToString(digest[:])})
	if err != nil {
		return nil, err
	}
	return seal.Seal(keys, validationKeys+k.Prefix, k, &k.Sealed, secret)
}

// decodeKey decodes what encodeKey wrote under this prefix. Any other value is an error.
func decodeKey(keys seal.Keys, prefix string, data []byte) (*l1.Credential, source, error) {
	var k sharedKey
	secret, err := seal.Open(keys, validationKeys+prefix, data, &k, &k.Sealed)
	if err != nil {
		return nil, source{}, err
	}
	var p sealedVerifier
	if err := json.Unmarshal(secret, &p); err != nil {
		return nil, source{}, seal.ErrSeal
	}
	digest, err := authz.ParseDigest(p.Digest)
	if err != nil || k.Prefix != prefix {
		return nil, source{}, seal.ErrSeal
	}
	return &l1.Credential{Record: k.record(), Verifier: authz.Verifier{Alg: p.Alg, PepperID: p.PepperID, Digest: digest}}, k.source, nil
}

func optional(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

func required(t *time.Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return *t
}
