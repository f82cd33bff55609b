package config

import (
	"time"

	"extauthz/authz"
)

// Retention sets how long rows are kept after they ended or were written. Older ones are
// deleted; 0s keeps them for ever.
type Retention struct {
	// Revoked keys, counted from their revocation; 0s: for ever. At least 1h otherwise.
	RevokedKeys time.Duration `koanf:"revoked_keys" min:"0s" max:"876000h"`
	// Expired keys, and those whose grace after a rotation has ended, counted from then; 0s: for ever. At least 1h otherwise. Until it is deleted, an expired key can get a later expiry.
	ExpiredKeys time.Duration `koanf:"expired_keys" min:"0s" max:"876000h"`
	// Audit entries; 0s: for ever. At least 1h otherwise.
	Audit time.Duration `koanf:"audit" min:"0s" max:"876000h"`
	// Idempotency keys, counted from their first use: the time within which a creation can be repeated; 0s: for ever. At least 1h otherwise.
	Idempotency time.Duration `koanf:"idempotency" min:"0s" max:"876000h"`
	// Usage of keys that are gone, counted from the last use; 0s: for ever. At least 1h
	// otherwise. The usage of a key is deleted with the key.
	Usage time.Duration `koanf:"usage" min:"0s" max:"876000h"`
	// Time between two runs.
	Interval time.Duration `koanf:"interval" min:"1s" max:"24h"`
}

// Purge returns what the settings delete.
func (r Retention) Purge() authz.Purge {
	return authz.Purge{RevokedKeys: r.RevokedKeys, ExpiredKeys: r.ExpiredKeys, AuditEntries: r.Audit, IdempotencyKeys: r.Idempotency, Usage: r.Usage}
}

func (v *validator) retention() {
	r := v.Retention
	for setting, kept := range map[string]time.Duration{
		"revoked_keys": r.RevokedKeys, "expired_keys": r.ExpiredKeys, "audit": r.Audit, "idempotency": r.Idempotency, "usage": r.Usage,
	} {
		if kept > 0 && kept < authz.MinRetention {
			v.add("retention."+setting, "%v is too short: write 1h or more, or 0s to keep them for ever", kept)
		}
	}
}
