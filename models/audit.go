package models

import (
	"context"
	"encoding/json"
	"strings"
	"time"

	"gorm.io/gorm/clause"

	"extauthz/authz"
	"extauthz/authz/subject"
)

// auditRow is a row of audit_log. Its fields' names in JSON are those of the columns.
type auditRow struct {
	ID        string    `gorm:"primaryKey" json:"id"`
	At        time.Time `gorm:"serializer:typed" json:"at"`
	Actor     string    `json:"actor"`
	ActorName string    `json:"actor_name"`
	Action    string    `json:"action"`
	KeyID     string    `json:"key_id"`
	Prefix    string    `json:"prefix"`
	UserID    string    `json:"user_id"`
	Role      string    `json:"role"`
	// Administrator is the id of the one that was changed.
	Administrator string `json:"administrator"`
	RequestID     string `json:"request_id"`
	Source        string `json:"source"`
	Detail        string `json:"detail"` // JSON
}

const auditColumns = "id, at, actor, actor_name, action, key_id, prefix, user_id, role, administrator, request_id, source, detail"

// TableName returns the table's name to GORM.
func (auditRow) TableName() string { return "audit_log" }

// auditRows never fails: characters that Postgres can't store are replaced, since a
// text may come from outside.
func auditRows(entries []authz.AuditEntry) []auditRow {
	rows := make([]auditRow, len(entries))
	for i, e := range entries {
		rows[i] = auditRow{ID: e.ID, At: instant(e.At), Actor: clean(e.Actor), ActorName: clean(e.ActorName), Action: e.Action,
			KeyID: clean(e.KeyID), Prefix: clean(e.Prefix), UserID: clean(e.UserID), Role: clean(e.Role), Administrator: clean(e.Administrator),
			RequestID: clean(e.RequestID), Source: clean(e.Source), Detail: asJSON(e.Detail, "{}")}
	}
	return rows
}

func clean(s string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
}

// ListAudit returns entries newest first.
func (db *DB) ListAudit(ctx context.Context, f authz.AuditFilter) ([]authz.AuditEntry, error) {
	if err := checkPage(f.Limit, f.KeyID, f.UserID, f.Actor, f.Action, f.Administrator, f.Before); err != nil {
		return nil, err
	}
	q := db.read.WithContext(ctx).Order("id DESC").Limit(f.Limit)
	for column, value := range map[string]string{"key_id": f.KeyID, "actor": f.Actor, "action": f.Action, "administrator": f.Administrator} {
		if value != "" {
			q = q.Where(clause.Eq{Column: column, Value: value})
		}
	}
	if f.UserID != "" {
		q = q.Where("user_id IN ?", subject.Forms(f.UserID))
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
			Prefix: r.Prefix, UserID: r.UserID, Role: r.Role, Administrator: r.Administrator, RequestID: r.RequestID, Source: r.Source}
		if err := json.Unmarshal([]byte(r.Detail), &out[i].Detail); err != nil { // someone wrote it by hand; it must not hide the other entries
			out[i].Detail = map[string]string{"unreadable": "column detail: " + err.Error()}
		}
	}
	return out, nil
}
