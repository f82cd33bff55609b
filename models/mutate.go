package models

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"sort"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"extauthz/authz"
	"extauthz/authz/subject"
)

// Mutate selects and locks keys in the order of their ids, calls fn, and writes what fn
// returns, all in one transaction. It returns the created keys, then the updated ones,
// with the versions that the triggers gave. fn's error rolls everything back and is
// returned as it is. A mutation that only creates keys and needs nothing that is stored
// may share its transaction with others like it: see [creations].
//
// If sel.Ref, or one of sel.Refs, matches no key, fn is not called and the error is
// authz.ErrNotFound. If a created key's prefix exists already, the error is
// authz.ErrConflict. See [claimIdempotency] for Mutation.Idempotency. fn must not use the
// DB, since SQLite has one writer.
func (db *DB) Mutate(ctx context.Context, sel authz.Selection, fn func(selected []authz.Record) (authz.Mutation, error)) ([]authz.Record, error) {
	if !selectsNothing(sel) {
		return db.writeDecided(ctx, func(tx *gorm.DB) (writing, error) {
			selected, err := db.selectForUpdate(tx, sel)
			if err != nil {
				return writing{}, err
			}
			m, err := fn(selected)
			if err != nil {
				return writing{}, err
			}
			return prepare(m)
		})
	}
	m, err := fn(nil)
	if err != nil {
		return nil, err
	}
	w, err := prepare(m)
	if err != nil {
		return nil, err
	}
	if w.createsAlone() {
		return db.creations.do(ctx, w.create, w.audit)
	}
	return db.writeDecided(ctx, func(*gorm.DB) (writing, error) { return w, nil })
}

// writeDecided calls decide and writes its result in one transaction. In Postgres each
// statement sees what others have committed until then, whatever the server's default
// isolation is. Decisions under a lock depend on that.
func (db *DB) writeDecided(ctx context.Context, decide func(tx *gorm.DB) (writing, error)) (after []authz.Record, err error) {
	defer func() { db.recordWrite(err) }()
	err = db.gorm.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		w, err := decide(tx)
		if err != nil {
			return err
		}
		after, err = w.write(tx)
		return err
	}, db.seesCommits()...)
	if err != nil {
		return nil, err
	}
	return after, nil
}

func (db *DB) seesCommits() []*sql.TxOptions {
	if db.driver != Postgres {
		return nil
	}
	return []*sql.TxOptions{{Isolation: sql.LevelReadCommitted}}
}

func selectsNothing(sel authz.Selection) bool {
	return sel.Ref == "" && len(sel.Refs) == 0 && sel.Family == "" && sel.UserID == ""
}

func (db *DB) selectForUpdate(tx *gorm.DB, sel authz.Selection) ([]authz.Record, error) {
	refs, q := sel.Refs, tx.Order("id")
	if sel.Ref != "" {
		refs = []string{sel.Ref}
	}
	switch {
	case len(refs) > 0:
		if i := slices.IndexFunc(refs, func(ref string) bool { return !storable(ref) }); i >= 0 {
			return nil, fmt.Errorf("key %q: %w", refs[i], authz.ErrNotFound)
		}
		q = q.Where("id IN ? OR key_prefix IN ?", refs, refs)
	case sel.Family != "":
		q = q.Where("family = ?", sel.Family)
	case sel.UserID != "":
		q = q.Where("user_id IN ?", subject.Forms(sel.UserID))
	default:
		return nil, nil
	}
	q = q.Session(&gorm.Session{})
	if db.driver == Postgres {
		// A statement that waits for a lock returns the locked rows as they are
		// afterwards, but not the rows that the other transaction added, such as a new
		// member of the family. So one statement takes the locks, and the next one reads
		// the rows.
		q = q.Clauses(clause.Locking{Strength: "UPDATE"}).Session(&gorm.Session{})
		var locked []string
		if err := q.Model(&keyRow{}).Pluck("id", &locked).Error; err != nil {
			return nil, err
		}
	}
	var rows []keyRow
	if err := q.Session(&gorm.Session{}).Find(&rows).Error; err != nil {
		return nil, err
	}
	records := listedRecords(rows)
	for _, ref := range refs {
		if !slices.ContainsFunc(records, func(r authz.Record) bool { return r.ID == ref || r.Prefix == ref }) {
			return nil, fmt.Errorf("key %q: %w", ref, authz.ErrNotFound)
		}
	}
	return records, nil
}

// writing is a mutation in the form of rows.
type writing struct {
	create, update []*keyRow
	end            []*keyRow // rows that can't be read: only the end of the key is written
	order          []string  // ids of created, then updated keys
	roles          []*roleRow
	deleteRoles    []string
	audit          []auditRow
	idempotency    *idempotencyRow
}

// prepare refuses what can't be stored before anything is written.
func prepare(m authz.Mutation) (w writing, err error) {
	for i := range m.Create {
		row, err := newRow(&m.Create[i])
		if err != nil {
			return w, err
		}
		w.create, w.order = append(w.create, row), append(w.order, row.ID)
	}
	for i := range m.Update {
		row, err := recordRow(&m.Update[i])
		if err != nil {
			return w, err
		}
		if w.order = append(w.order, row.ID); m.Update[i].Unreadable != "" {
			w.end = append(w.end, row)
			continue
		}
		w.update = append(w.update, row)
	}
	// Rows are written in the order of locking, whatever fn's order was.
	sort.Slice(w.update, func(i, j int) bool { return w.update[i].ID < w.update[j].ID })
	for i := range m.PutRoles {
		row, err := newRoleRow(&m.PutRoles[i])
		if err != nil {
			return w, err
		}
		w.roles = append(w.roles, row)
	}
	w.deleteRoles, w.audit = m.DeleteRoles, auditRows(m.Audit)
	w.idempotency, err = newIdempotencyRow(m.Idempotency)
	return w, err
}

// createsAlone reports whether w only creates keys and needs nothing that is stored.
func (w *writing) createsAlone() bool {
	return len(w.create) > 0 && len(w.update)+len(w.end)+len(w.roles)+len(w.deleteRoles) == 0 && w.idempotency == nil
}

func (w *writing) write(tx *gorm.DB) ([]authz.Record, error) {
	if err := claimIdempotency(tx, w.idempotency); err != nil {
		return nil, err
	}
	if err := insertKeys(tx, w.create); err != nil {
		return nil, err
	}
	for _, row := range w.update {
		res := tx.Model(&keyRow{ID: row.ID}).Select("*").Omit("id", "key_hash", "hash_alg", "pepper_id", "created_at", "version").Updates(row)
		if errors.Is(res.Error, gorm.ErrDuplicatedKey) {
			return nil, fmt.Errorf("key prefix %s: %w", row.KeyPrefix, authz.ErrConflict)
		}
		if res.Error != nil {
			return nil, res.Error
		}
		if res.RowsAffected != 1 {
			return nil, fmt.Errorf("key %q: %w", row.KeyPrefix, authz.ErrNotFound)
		}
	}
	for _, row := range w.end {
		if err := endKey(tx, row); err != nil {
			return nil, err
		}
	}
	if err := writeRoles(tx, w.roles, w.deleteRoles); err != nil {
		return nil, err
	}
	if err := insertAudit(tx, w.audit); err != nil {
		return nil, err
	}
	return reread(tx, w.order)
}

// endKey writes the end of a key whose row can't be read, and leaves the
// unreadable columns unchanged.
func endKey(tx *gorm.DB, row *keyRow) error {
	columns := []string{"is_active", "updated_at"}
	if row.RevokedAt != nil {
		columns = append(columns, "revoked_at")
	}
	if row.ExpiresAt != nil {
		columns = append(columns, "expires_at")
	}
	res := tx.Model(&keyRow{ID: row.ID}).Select(columns).Updates(row)
	if res.Error == nil && res.RowsAffected != 1 {
		return fmt.Errorf("key %q: %w", row.KeyPrefix, authz.ErrNotFound)
	}
	return res.Error
}

// insertKeys writes new rows. If one exists already, the error is authz.ErrConflict.
func insertKeys(tx *gorm.DB, rows []*keyRow) error {
	if len(rows) == 0 {
		return nil
	}
	err := tx.CreateInBatches(rows, rowsAtOnce).Error
	if errors.Is(err, gorm.ErrDuplicatedKey) {
		return errTaken(rows)
	}
	return err
}

// errTaken returns the error for rows of which one exists already.
func errTaken(rows []*keyRow) error {
	if len(rows) > 1 {
		return fmt.Errorf("one of %d key prefixes: %w", len(rows), authz.ErrConflict)
	}
	return fmt.Errorf("key prefix %s: %w", rows[0].KeyPrefix, authz.ErrConflict)
}

func insertAudit(tx *gorm.DB, rows []auditRow) error {
	if len(rows) == 0 {
		return nil
	}
	return tx.CreateInBatches(rows, rowsAtOnce).Error
}

// reread returns the records with the versions that the triggers gave, in the
// order of ids.
func reread(tx *gorm.DB, ids []string) ([]authz.Record, error) {
	byID := make(map[string]keyRow, len(ids))
	for some := range slices.Chunk(ids, rowsAtOnce) {
		var rows []keyRow
		if err := tx.Where("id IN ?", some).Find(&rows).Error; err != nil {
			return nil, err
		}
		for _, r := range rows {
			byID[r.ID] = r
		}
	}
	ordered := make([]keyRow, len(ids))
	for i, id := range ids {
		ordered[i] = byID[id]
	}
	return listedRecords(ordered), nil
}
