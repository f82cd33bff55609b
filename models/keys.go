package models

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"gorm.io/gorm"

	"extauthz/authz"
)

// KeyByPrefix finds a key and what proves it, by one indexed query.
func (db *DB) KeyByPrefix(ctx context.Context, prefix string) (authz.Record, authz.Verifier, error) {
	row, err := db.one(ctx, "key_prefix = ?", prefix)
	if err != nil {
		return authz.Record{}, authz.Verifier{}, err
	}
	rec, err := row.record()
	if err != nil {
		return authz.Record{}, authz.Verifier{}, err
	}
	v, err := row.verifier()
	return rec, v, err
}

// KeyByRef finds a key by its id or its prefix.
func (db *DB) KeyByRef(ctx context.Context, ref string) (authz.Record, error) {
	row, err := db.one(ctx, "id = ? OR key_prefix = ?", ref, ref)
	if err != nil {
		return authz.Record{}, err
	}
	return row.record()
}

func (db *DB) one(ctx context.Context, where string, args ...any) (*keyRow, error) {
	var row keyRow
	err := db.gorm.WithContext(ctx).Where(where, args...).Take(&row).Error
	if errors.Is(err, gorm.ErrRecordNotFound) {
		return nil, fmt.Errorf("key: %w", authz.ErrNotFound)
	}
	return &row, err
}

// ListKeys returns keys newest first: ids are UUIDv7, which sort by time. The
// page after a key begins with the next older one.
func (db *DB) ListKeys(ctx context.Context, f authz.KeyFilter) ([]authz.Listed, error) {
	q := db.gorm.WithContext(ctx).Order("id DESC").Limit(f.Limit)
	if f.UserID != "" {
		q = q.Where("user_id = ?", f.UserID)
	}
	if f.Project != "" {
		q = q.Where("project = ?", f.Project)
	}
	if f.Projects != nil {
		q = q.Where("project IN ?", f.Projects)
	}
	if f.ActiveOnly {
		q = q.Where("is_active AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > ?)", f.Now.UTC())
	}
	if !f.UnusedSince.IsZero() {
		since := f.UnusedSince.UTC()
		q = q.Where("created_at < ? AND NOT EXISTS (SELECT 1 FROM key_usage u WHERE u.key_id = api_keys.id AND u.last_used_at >= ?)", since, since)
	}
	if f.Text != "" {
		like := "%" + strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`).Replace(f.Text) + "%"
		q = q.Where(`(name LIKE ? ESCAPE '\' OR key_prefix LIKE ? ESCAPE '\')`, like, like)
	}
	if f.After != "" {
		q = q.Where("id < ?", f.After)
	}
	var rows []keyRow
	if err := q.Find(&rows).Error; err != nil {
		return nil, err
	}
	records, err := toRecords(rows)
	if err != nil {
		return nil, err
	}
	out := make([]authz.Listed, len(records))
	ids := make([]string, len(records))
	for i, r := range records {
		out[i].Record, ids[i] = r, r.ID
	}
	if !f.WithUsage {
		return out, nil
	}
	usage, err := db.Usage(ctx, ids)
	if err != nil {
		return nil, err
	}
	byID := map[string]authz.Usage{}
	for _, u := range usage {
		byID[u.KeyID] = u
	}
	for i := range out {
		u := byID[out[i].ID]
		u.KeyID = out[i].ID
		out[i].Usage = &u
	}
	return out, nil
}

// HasAdministrator tells whether a key that is not revoked has scopes of its
// own on the reserved resource; a disabled or expired one counts, so that
// nobody becomes administrator by waiting.
func (db *DB) HasAdministrator(ctx context.Context) (bool, error) {
	var rows []keyRow
	if err := db.gorm.WithContext(ctx).Where("scopes LIKE ? AND revoked_at IS NULL", reservedPattern).Find(&rows).Error; err != nil {
		return false, err
	}
	records, err := toRecords(rows)
	if err != nil {
		return false, err
	}
	for i := range records {
		if isAdministrator(&records[i]) {
			return true, nil
		}
	}
	return false, nil
}

// CountKeys counts keys by state at now: "active", "revoked", "disabled",
// "expired".
func (db *DB) CountKeys(ctx context.Context, now time.Time) (map[string]int64, error) {
	var rows []struct {
		State string
		N     int64
	}
	err := db.gorm.WithContext(ctx).Raw(`SELECT CASE WHEN revoked_at IS NOT NULL THEN 'revoked' WHEN NOT is_active THEN 'disabled'
		WHEN expires_at <= ? THEN 'expired' ELSE 'active' END AS state, count(*) AS n FROM api_keys GROUP BY 1`, now.UTC()).Scan(&rows).Error
	out := map[string]int64{}
	for _, r := range rows {
		out[r.State] = r.N
	}
	return out, err
}
