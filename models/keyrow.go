package models

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"extauthz/authz"
)

// keyRow is a row of api_keys. Its fields' names in JSON are those of the columns.
type keyRow struct {
	ID           string     `gorm:"primaryKey" json:"id"`
	UserID       string     `json:"user_id"`
	Name         string     `json:"name"`
	KeyPrefix    string     `json:"key_prefix"`
	KeyHash      string     `json:"key_hash"`
	Scopes       string     `json:"scopes"` // JSON: [{"resource":…,"actions":[…]}]
	IsActive     bool       `gorm:"serializer:typed" json:"is_active"`
	ExpiresAt    *time.Time `gorm:"serializer:typed" json:"expires_at"`
	CreatedAt    time.Time  `gorm:"autoCreateTime:false;serializer:typed" json:"created_at"`
	UpdatedAt    time.Time  `gorm:"autoUpdateTime:false;serializer:typed" json:"updated_at"`
	HashAlg      string     `json:"hash_alg"`
	PepperID     string     `json:"pepper_id"`
	Environment  string     `json:"environment"`
	RevokedAt    *time.Time `gorm:"serializer:typed" json:"revoked_at"`
	RotatedFrom  string     `json:"rotated_from"`
	AllowedCIDRs string     `gorm:"column:allowed_cidrs" json:"allowed_cidrs"` // JSON
	Metadata     string     `json:"metadata"`                                  // JSON
	Rate         string     `json:"rate"`
	Project      string     `json:"project"`
	Roles        string     `json:"roles"` // JSON
	Family       string     `json:"family"`
	Version      uint64     `gorm:"serializer:typed" json:"version"`
	Grants       string     `json:"grants"` // JSON
	ShadowUntil  *time.Time `gorm:"serializer:typed" json:"shadow_until"`
	ShadowEnd    *time.Time `gorm:"serializer:typed" json:"shadow_end"`
	ShadowScopes string     `json:"shadow_scopes"` // JSON, as Scopes

	damage       error // why a column can't be read: its value is of another type
	damageColumn string
}

// damaged records the first column with an invalid value.
func (r *keyRow) damaged(column string, err error) {
	if r.damage == nil {
		r.damageColumn, r.damage = column, err
	}
}

// keyColumns are the columns of a new row; its version comes from a trigger.
const keyColumns = `id, user_id, name, key_prefix, key_hash, scopes, is_active, expires_at, created_at, updated_at, hash_alg, pepper_id,
	environment, revoked_at, rotated_from, allowed_cidrs, metadata, rate, project, roles, family, grants, shadow_until, shadow_end, shadow_scopes`

// TableName returns the table's name to GORM.
func (keyRow) TableName() string { return "api_keys" }

// record reads a row for decisions. Someone may have written the row by hand: if it can't
// be read, the result is an error, not a key with fewer limits.
func (r *keyRow) record() (authz.Record, error) {
	rec, column, err := r.read()
	if err != nil {
		return authz.Record{}, fmt.Errorf("%w: key %s: column %s: %w", authz.ErrUnreadable, r.KeyPrefix, column, err)
	}
	return rec, nil
}

// listed reads a row for lists. An unreadable row shows its plain columns, so that it
// hides no other row, and its key can be ended.
func (r *keyRow) listed() authz.Record {
	rec, column, err := r.read()
	if err != nil {
		rec = r.plain()
		rec.Unreadable = fmt.Sprintf("column %s: %v", column, err)
	}
	return rec
}

// plain returns a record with only the columns that need no parsing. It lacks limits of
// the key, so it must not be used for decisions.
func (r *keyRow) plain() authz.Record {
	return authz.Record{ID: r.ID, UserID: r.UserID, Name: r.Name, Prefix: r.KeyPrefix, Active: r.IsActive,
		ExpiresAt: fromNull(r.ExpiresAt), RevokedAt: fromNull(r.RevokedAt), CreatedAt: r.CreatedAt.UTC(), UpdatedAt: r.UpdatedAt.UTC(),
		Environment: r.Environment, RotatedFrom: r.RotatedFrom, Family: r.Family, Project: r.Project, Version: r.Version,
		ShadowUntil: fromNull(r.ShadowUntil), ShadowEnd: fromNull(r.ShadowEnd)}
}

// read parses all columns; an error concerns the column that is returned with it.
func (r *keyRow) read() (rec authz.Record, column string, err error) {
	rec = r.plain()
	if r.damage != nil {
		return rec, r.damageColumn, r.damage
	}
	if rec.Scopes, err = readScopes(r.Scopes); err != nil {
		return rec, "scopes", err
	}
	if rec.ShadowScopes, err = readScopes(r.ShadowScopes); err != nil {
		return rec, "shadow_scopes", err
	}
	for column, target := range map[string]struct {
		text string
		into any
	}{"metadata": {r.Metadata, &rec.Metadata}, "roles": {r.Roles, &rec.Roles}} {
		if err := json.Unmarshal([]byte(target.text), target.into); err != nil {
			return rec, column, err
		}
	}
	if rec.AllowedCIDRs, err = readNetworks(r.AllowedCIDRs); err != nil {
		return rec, "allowed_cidrs", err
	}
	if rec.Grants, err = readGrants(r.Grants); err != nil {
		return rec, "grants", err
	}
	if rec.Rate, err = authz.ParseRate(r.Rate); err != nil {
		return rec, "rate", err
	}
	return rec, "", nil
}

func (r *keyRow) verifier() (authz.Verifier, error) {
	digest, err := authz.ParseDigest(r.KeyHash)
	if err != nil {
		return authz.Verifier{}, fmt.Errorf("%w: key %s: column key_hash", authz.ErrUnreadable, r.KeyPrefix)
	}
	if alg := authz.HashAlg(r.HashAlg); alg != authz.HashSHA256 && alg != authz.HashHMACSHA256 {
		return authz.Verifier{}, fmt.Errorf("%w: key %s: column hash_alg is neither %s nor %s", authz.ErrUnreadable, r.KeyPrefix, authz.HashSHA256, authz.HashHMACSHA256)
	}
	return authz.Verifier{Alg: authz.HashAlg(r.HashAlg), PepperID: r.PepperID, Digest: digest}, nil
}

// storedNetwork is a network of allowed_cidrs, or a single address, as people type it.
type storedNetwork netip.Prefix

// UnmarshalText implements encoding.TextUnmarshaler.
func (n *storedNetwork) UnmarshalText(text []byte) error {
	network, err := authz.ParseNetwork(string(text))
	*n = storedNetwork(network)
	return err
}

func newRow(k *authz.NewKey) (*keyRow, error) {
	row, err := recordRow(&k.Record)
	if err != nil {
		return nil, err
	}
	digest, ok := k.Verifier.Digest.Bytes()
	if !ok {
		return nil, fmt.Errorf("key %s has no verifier", row.KeyPrefix)
	}
	row.KeyHash, row.HashAlg, row.PepperID = hex.EncodeToString(digest[:]), string(k.Verifier.Alg), k.Verifier.PepperID
	return row, nil
}

func recordRow(r *authz.Record) (*keyRow, error) {
	texts := append([]string{r.ID, r.UserID, r.Name, r.Prefix, r.Environment, r.RotatedFrom, r.Family, r.Project}, slices.Concat(r.Roles, r.Grants.Users)...)
	texts = slices.AppendSeq(slices.AppendSeq(texts, maps.Keys(r.Metadata)), maps.Values(r.Metadata))
	if !storable(texts...) {
		return nil, fmt.Errorf("key %q: %w", r.Prefix, errUnstorable)
	}
	return &keyRow{ID: r.ID, UserID: r.UserID, Name: r.Name, KeyPrefix: r.Prefix, Scopes: asJSON(r.Scopes, "[]"), IsActive: r.Active,
		ExpiresAt: toNull(r.ExpiresAt), RevokedAt: toNull(r.RevokedAt), CreatedAt: instant(r.CreatedAt), UpdatedAt: instant(r.UpdatedAt),
		Environment: r.Environment, RotatedFrom: r.RotatedFrom, AllowedCIDRs: asJSON(r.AllowedCIDRs, "[]"),
		Metadata: asJSON(r.Metadata, "{}"), Rate: r.Rate.String(), Project: r.Project, Roles: asJSON(r.Roles, "[]"),
		Family: r.Family, Grants: asJSON(r.Grants, "{}"), ShadowUntil: toNull(r.ShadowUntil),
		ShadowEnd: toNull(r.ShadowEnd), ShadowScopes: asJSON(r.ShadowScopes, "[]")}, nil
}

func listedRecords(rows []keyRow) []authz.Record {
	records := make([]authz.Record, len(rows))
	for i := range rows {
		records[i] = rows[i].listed()
	}
	return records
}

// readAll reads rows, and fails if one is unreadable.
func readAll[Row, T any](rows []Row, read func(*Row) (T, error)) ([]T, error) {
	out := make([]T, len(rows))
	for i := range rows {
		var err error
		if out[i], err = read(&rows[i]); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// errUnstorable is the error, with either database, for a text that one of them can't
// store.
var errUnstorable = errors.New("a text holds a NUL byte or is not UTF-8, which can't be stored: leave it out")

// storable reports whether Postgres can store and compare the texts.
func storable(texts ...string) bool {
	return !slices.ContainsFunc(texts, func(s string) bool { return strings.ContainsRune(s, 0) || !utf8.ValidString(s) })
}

// storedScope is a scope as a column holds it: the object that this service writes, or
// the text that people write, such as "orders:read,create".
type storedScope authz.Scope

// UnmarshalJSON accepts either form.
func (s *storedScope) UnmarshalJSON(b []byte) error {
	if b[0] != '"' {
		return json.Unmarshal(b, (*authz.Scope)(s))
	}
	var text string
	if err := json.Unmarshal(b, &text); err != nil {
		return err
	}
	scopes, err := authz.ParseScopes([]string{text})
	if err != nil {
		return err
	}
	*s = storedScope(scopes[0])
	return nil
}

func readScopes(text string) (authz.Scopes, error) {
	var stored []storedScope
	if err := json.Unmarshal([]byte(text), &stored); err != nil {
		return nil, err
	}
	return newScopes(stored)
}

func newScopes(stored []storedScope) (authz.Scopes, error) {
	scopes := make([]authz.Scope, len(stored))
	for i, s := range stored {
		scopes[i] = authz.Scope(s)
	}
	return authz.NewScopes(scopes)
}

// asJSON encodes a value of a type that can always be encoded. For nil slices and maps it
// returns empty.
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
	t = instant(t)
	return &t
}

// instant returns t in UTC, in microseconds, the precision of both databases.
func instant(t time.Time) time.Time { return t.UTC().Truncate(time.Microsecond) }

func fromNull(t *time.Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.UTC()
}
