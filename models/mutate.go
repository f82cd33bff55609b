package models

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"sort"
	"strings"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"extauthz/authz"
)

// bootstrapLock is the advisory lock that Selection.Administrators holds in
// Postgres; SQLite has one writer anyway.
const bootstrapLock = 0x65787461757468

// Mutate selects and locks keys in the order of their ids, asks fn what to
// write, and writes it in one transaction. It returns the created keys, then
// the updated ones, with the versions that the triggers gave. fn's error rolls
// everything back and is returned as it is.
func (db *DB) Mutate(ctx context.Context, sel authz.Selection, fn func([]authz.Record) (authz.Mutation, error)) ([]authz.Record, error) {
	var after []authz.Record
	err := db.gorm.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		selected, err := db.selectForUpdate(tx, sel)
		if err != nil {
			return err
		}
		m, err := fn(selected)
		if err != nil {
			return err
		}
		if after, err = db.write(tx, m); err != nil {
			return err
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return after, nil
}

func (db *DB) selectForUpdate(tx *gorm.DB, sel authz.Selection) ([]authz.Record, error) {
	q := tx.Order("id")
	if db.driver == Postgres {
		q = q.Clauses(clause.Locking{Strength: "UPDATE"})
	}
	refs := sel.Refs
	switch {
	case sel.Ref != "":
		refs = []string{sel.Ref}
		q = q.Where("id IN ? OR key_prefix IN ?", refs, refs)
	case len(refs) > 0:
		q = q.Where("id IN ? OR key_prefix IN ?", refs, refs)
	case sel.Family != "":
		q = q.Where("family = ?", sel.Family)
	case sel.UserID != "":
		q = q.Where("user_id = ?", sel.UserID)
	case sel.Administrators:
		if db.driver == Postgres {
			if err := tx.Exec("SELECT pg_advisory_xact_lock(?)", bootstrapLock).Error; err != nil {
				return nil, err
			}
		}
		q = q.Where("scopes LIKE ?", reservedPattern)
	default:
		return nil, nil
	}
	var rows []keyRow
	if err := q.Find(&rows).Error; err != nil {
		return nil, err
	}
	records, err := toRecords(rows)
	if err != nil {
		return nil, err
	}
	for _, ref := range refs {
		if !slices.ContainsFunc(records, func(r authz.Record) bool { return r.ID == ref || r.Prefix == ref }) {
			return nil, fmt.Errorf("key %q: %w", ref, authz.ErrNotFound)
		}
	}
	if sel.Administrators {
		records = slices.DeleteFunc(records, func(r authz.Record) bool { return !isAdministrator(&r) })
	}
	return records, nil
}

// reservedPattern finds rows that may hold reserved scopes by their JSON;
// isAdministrator then looks at the scopes themselves.
const reservedPattern = `%"` + authz.ReservedResource + `%`

func isAdministrator(r *authz.Record) bool {
	return slices.ContainsFunc(r.Scopes, func(s authz.Scope) bool {
		return s.Resource == authz.ReservedResource || strings.HasPrefix(s.Resource, authz.ReservedResource+"/")
	})
}

func (db *DB) write(tx *gorm.DB, m authz.Mutation) ([]authz.Record, error) {
	if err := claimIdempotency(tx, m.Idempotency); err != nil {
		return nil, err
	}
	var ids []string
	for i := range m.Create {
		row, err := newRow(&m.Create[i])
		if err != nil {
			return nil, err
		}
		if err := tx.Create(row).Error; err != nil {
			if errors.Is(err, gorm.ErrDuplicatedKey) {
				return nil, fmt.Errorf("key prefix %s: %w", row.KeyPrefix, authz.ErrConflict)
			}
			return nil, err
		}
		ids = append(ids, row.ID)
	}
	// In the order of ids, as they were locked, whatever fn's order was.
	updates := slices.Clone(m.Update)
	sort.Slice(updates, func(i, j int) bool { return updates[i].ID < updates[j].ID })
	for i := range updates {
		row, err := recordRow(&updates[i])
		if err != nil {
			return nil, err
		}
		res := tx.Model(&keyRow{ID: row.ID}).Select("*").Omit("id", "key_hash", "hash_alg", "pepper_id", "created_at", "version").Updates(row)
		if res.Error != nil {
			return nil, res.Error
		}
		if res.RowsAffected != 1 {
			return nil, fmt.Errorf("key %q: %w", row.KeyPrefix, authz.ErrNotFound)
		}
	}
	for i := range m.Update {
		ids = append(ids, m.Update[i].ID)
	}
	if err := writeRoles(tx, m); err != nil {
		return nil, err
	}
	if err := writeAudit(tx, m.Audit); err != nil {
		return nil, err
	}
	return reread(tx, ids)
}

// reread returns the records with the versions that the triggers gave, in the
// order of ids.
func reread(tx *gorm.DB, ids []string) ([]authz.Record, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	var rows []keyRow
	if err := tx.Where("id IN ?", ids).Find(&rows).Error; err != nil {
		return nil, err
	}
	byID := map[string]*keyRow{}
	for i := range rows {
		byID[rows[i].ID] = &rows[i]
	}
	ordered := make([]keyRow, 0, len(ids))
	for _, id := range ids {
		if r := byID[id]; r != nil {
			ordered = append(ordered, *r)
		}
	}
	return toRecords(ordered)
}

func toRecords(rows []keyRow) ([]authz.Record, error) {
	out := make([]authz.Record, 0, len(rows))
	for i := range rows {
		r, err := rows[i].record()
		if err != nil {
			return nil, err
		}
		out = append(out, r)
	}
	return out, nil
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
	for _, text := range []string{r.UserID, r.Name, r.Project} {
		if strings.ContainsRune(text, 0) {
			return nil, fmt.Errorf("key %s: a text holds a NUL byte, which Postgres can't keep", r.Prefix)
		}
	}
	micro := func(t time.Time) time.Time { return t.UTC().Truncate(time.Microsecond) }
	return &keyRow{ID: r.ID, UserID: r.UserID, Name: r.Name, KeyPrefix: r.Prefix, Scopes: asJSON(r.Scopes, "[]"), IsActive: r.Active,
		ExpiresAt: toNull(r.ExpiresAt), RevokedAt: toNull(r.RevokedAt), CreatedAt: micro(r.CreatedAt), UpdatedAt: micro(r.UpdatedAt),
		Environment: r.Environment, RotatedFrom: r.RotatedFrom, AllowedCIDRs: asJSON(r.AllowedCIDRs, "[]"),
		Metadata: asJSON(r.Metadata, "{}"), Rate: r.Rate.String(), Project: r.Project, Roles: asJSON(r.Roles, "[]"),
		Family: r.Family, Grants: asJSON(r.Grants, "{}")}, nil
}
