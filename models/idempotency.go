package models

import (
	"bytes"
	"errors"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"extauthz/authz"
)

// idempotencyRow is a row of idempotency_keys.
type idempotencyRow struct {
	Principal   string `gorm:"primaryKey"`
	Key         string `gorm:"primaryKey"`
	Fingerprint []byte
	KeyID       string
	At          time.Time
}

// TableName returns the table's name to GORM.
func (idempotencyRow) TableName() string { return "idempotency_keys" }

func newIdempotencyRow(i *authz.Idempotency) (*idempotencyRow, error) {
	if i == nil {
		return nil, nil
	}
	if !storable(i.Principal, i.Key) {
		return nil, errors.New("idempotency key is not UTF-8 or holds a NUL byte: send another")
	}
	return &idempotencyRow{Principal: i.Principal, Key: i.Key, Fingerprint: i.Fingerprint, KeyID: i.KeyID, At: instant(i.At)}, nil
}

// claimIdempotency claims the idempotency key for this transaction. It waits for another
// transaction that has claimed it, so that exactly one creates a key. The others get
// *authz.IdempotencyError with the id of that key or, if their request was a different
// one, authz.ErrIdempotencyReuse.
func claimIdempotency(tx *gorm.DB, row *idempotencyRow) error {
	if row == nil {
		return nil
	}
	res := tx.Clauses(clause.OnConflict{DoNothing: true}).Create(row)
	if res.Error != nil || res.RowsAffected == 1 {
		return res.Error
	}
	var there idempotencyRow
	if err := tx.Where("principal = ? AND key = ?", row.Principal, row.Key).Take(&there).Error; err != nil {
		return err
	}
	if !bytes.Equal(there.Fingerprint, row.Fingerprint) {
		return authz.ErrIdempotencyReuse
	}
	return &authz.IdempotencyError{KeyID: there.KeyID}
}
