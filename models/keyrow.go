package models

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"time"

	"extauthz/authz"
)

// keyRow is a row of api_keys.
type keyRow struct {
	ID           string `gorm:"primaryKey"`
	UserID       string
	Name         string
	KeyPrefix    string
	KeyHash      string
	Scopes       string // JSON: [{"resource":…,"actions":[…]}]
	IsActive     bool
	ExpiresAt    *time.Time
	CreatedAt    time.Time `gorm:"autoCreateTime:false"`
	UpdatedAt    time.Time `gorm:"autoUpdateTime:false"`
	HashAlg      string
	PepperID     string
	Environment  string
	RevokedAt    *time.Time
	RotatedFrom  string
	AllowedCIDRs string `gorm:"column:allowed_cidrs"` // JSON
	Metadata     string // JSON
	Rate         string
	Project      string
	Roles        string // JSON
	Family       string
	Version      uint64
	Grants       string // JSON
}

// TableName is GORM's way of naming the table.
func (keyRow) TableName() string { return "api_keys" }

// record reads a row. A row that can't be read is an error and not a key with
// fewer limits: someone wrote it by hand.
func (r *keyRow) record() (authz.Record, error) {
	fail := func(column string, err error) (authz.Record, error) {
		return authz.Record{}, fmt.Errorf("key %s: column %s can't be read: %w", r.KeyPrefix, column, err)
	}
	rec := authz.Record{ID: r.ID, UserID: r.UserID, Name: r.Name, Prefix: r.KeyPrefix, Active: r.IsActive,
		ExpiresAt: fromNull(r.ExpiresAt), RevokedAt: fromNull(r.RevokedAt), CreatedAt: r.CreatedAt.UTC(), UpdatedAt: r.UpdatedAt.UTC(),
		Environment: r.Environment, RotatedFrom: r.RotatedFrom, Family: r.Family, Project: r.Project, Version: r.Version}
	var err error
	if rec.Scopes, err = readScopes(r.Scopes); err != nil {
		return fail("scopes", err)
	}
	var cidrs []netip.Prefix
	for column, target := range map[string]struct {
		text string
		into any
	}{"allowed_cidrs": {r.AllowedCIDRs, &cidrs}, "metadata": {r.Metadata, &rec.Metadata}, "roles": {r.Roles, &rec.Roles}, "grants": {r.Grants, &rec.Grants}} {
		if err := json.Unmarshal([]byte(target.text), target.into); err != nil {
			return fail(column, err)
		}
	}
	rec.AllowedCIDRs = cidrs
	if rec.Grants.Scopes, err = authz.NewScopes(rec.Grants.Scopes); err != nil {
		return fail("grants", err)
	}
	if rec.Rate, err = authz.ParseRate(r.Rate); err != nil {
		return fail("rate", err)
	}
	return rec, nil
}

func (r *keyRow) verifier() (authz.Verifier, error) {
	digest, err := authz.ParseDigest(r.KeyHash)
	if err != nil {
		return authz.Verifier{}, fmt.Errorf("key %s: column key_hash can't be read", r.KeyPrefix)
	}
	return authz.Verifier{Alg: authz.HashAlg(r.HashAlg), PepperID: r.PepperID, Digest: digest}, nil
}

func readScopes(text string) (authz.Scopes, error) {
	var s []authz.Scope
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		return nil, err
	}
	return authz.NewScopes(s)
}

// asJSON writes a value that can always be written; nil slices and maps become
// empty ones.
func asJSON(v any, empty string) string {
	b, err := json.Marshal(v)
	if err != nil || string(b) == "null" {
		return empty
	}
	return string(b)
}

func toNull(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC().Truncate(time.Microsecond)
	return &t
}

func fromNull(t *time.Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.UTC()
}
