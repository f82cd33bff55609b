package models

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"extauthz/authz"
)

// auditRow is a row of audit_log.
type auditRow struct {
	ID                                             string `gorm:"primaryKey"`
	At                                             time.Time
	Actor, ActorName, Action                       string
	KeyID, Prefix, UserID, Role, RequestID, Source string
	Detail                                         string // JSON
}

// TableName is GORM's way of naming the table.
func (auditRow) TableName() string { return "audit_log" }

func writeAudit(tx *gorm.DB, entries []authz.AuditEntry) error {
	if len(entries) == 0 {
		return nil
	}
	rows := make([]auditRow, len(entries))
	for i, e := range entries {
		rows[i] = auditRow{ID: e.ID, At: e.At.UTC(), Actor: e.Actor, ActorName: e.ActorName, Action: e.Action, KeyID: e.KeyID,
			Prefix: e.Prefix, UserID: e.UserID, Role: e.Role, RequestID: e.RequestID, Source: e.Source, Detail: asJSON(e.Detail, "{}")}
	}
	return tx.CreateInBatches(rows, 500).Error
}

// ListAudit returns entries newest first.
func (db *DB) ListAudit(ctx context.Context, f authz.AuditFilter) ([]authz.AuditEntry, error) {
	q := db.gorm.WithContext(ctx).Order("id DESC").Limit(f.Limit)
	for column, value := range map[string]string{"key_id": f.KeyID, "user_id": f.UserID, "actor": f.Actor, "action": f.Action} {
		if value != "" {
			q = q.Where(clause.Eq{Column: column, Value: value})
		}
	}
	if !f.Since.IsZero() {
		q = q.Where("at >= ?", f.Since.UTC())
	}
	if f.Before != "" {
		q = q.Where("id < ?", f.Before)
	}
	var rows []auditRow
	if err := q.Find(&rows).Error; err != nil {
		return nil, err
	}
	out := make([]authz.AuditEntry, len(rows))
	for i, r := range rows {
		out[i] = authz.AuditEntry{ID: r.ID, At: r.At.UTC(), Actor: r.Actor, ActorName: r.ActorName, Action: r.Action, KeyID: r.KeyID,
			Prefix: r.Prefix, UserID: r.UserID, Role: r.Role, RequestID: r.RequestID, Source: r.Source}
		if err := json.Unmarshal([]byte(r.Detail), &out[i].Detail); err != nil {
			return nil, fmt.Errorf("audit entry %s: column detail can't be read: %w", r.ID, err)
		}
	}
	return out, nil
}

// idempotencyRow is a row of idempotency_keys.
type idempotencyRow struct {
	Principal   string `gorm:"primaryKey"`
	Key         string `gorm:"primaryKey"`
	Fingerprint []byte
	KeyID       string
	At          time.Time
}

// TableName is GORM's way of naming the table.
func (idempotencyRow) TableName() string { return "idempotency_keys" }

// claimIdempotency takes the idempotency key for this transaction. Another
// transaction that has it is waited for, so exactly one creates.
func claimIdempotency(tx *gorm.DB, i *authz.Idempotency) error {
	if i == nil {
		return nil
	}
	row := idempotencyRow{Principal: i.Principal, Key: i.Key, Fingerprint: i.Fingerprint, KeyID: i.KeyID, At: i.At.UTC()}
	res := tx.Clauses(clause.OnConflict{DoNothing: true}).Create(&row)
	if res.Error != nil || res.RowsAffected == 1 {
		return res.Error
	}
	var there idempotencyRow
	if err := tx.Where("principal = ? AND key = ?", i.Principal, i.Key).Take(&there).Error; err != nil {
		return err
	}
	if !bytes.Equal(there.Fingerprint, i.Fingerprint) {
		return authz.ErrIdempotencyReuse
	}
	return &authz.IdempotencyError{KeyID: there.KeyID}
}
