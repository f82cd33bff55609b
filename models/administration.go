package models

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"extauthz/authz"
)

// administrationLock is the advisory lock that a change of the administration holds in
// Postgres. SQLite needs none, since it has one writer. It comes before the locks of rows.
// (Replicas of releases without administrators lock rows first. If both wait for each
// other, Postgres ends one, and its caller tries again.)
const administrationLock = 0x65787461757468

// Administration returns all administrators, their own roles and their keys.
func (db *DB) Administration(ctx context.Context) (authz.Administration, error) {
	return db.administration(db.read.WithContext(ctx), false)
}

// HasAdministrator reports whether there is one with a key that is not revoked: a disabled
// or expired one counts, so that waiting for its end makes no caller an administrator.
func (db *DB) HasAdministrator(ctx context.Context) (bool, error) {
	q := db.read.WithContext(ctx)
	var families []string
	if err := q.Model(&administratorRow{}).Where("family <> ''").Pluck("family", &families).Error; err != nil {
		return false, err
	}
	for some := range slices.Chunk(families, rowsAtOnce) {
		var found []string
		if err := q.Model(&keyRow{}).Where("family IN ? AND revoked_at IS NULL", some).Limit(1).Pluck("id", &found).Error; err != nil || len(found) > 0 {
			return len(found) > 0, err
		}
	}
	return false, nil
}

// AdministratorOf returns the administrator of a rotation family and those of its roles
// that are not built in, or authz.ErrNotFound.
func (db *DB) AdministratorOf(ctx context.Context, family string) (a authz.Administration, err error) {
	if family == "" || !storable(family) {
		return a, authz.ErrNotFound
	}
	var rows []administratorRow
	if err := db.read.WithContext(ctx).Where("family = ?", family).Find(&rows).Error; err != nil {
		return a, err
	}
	if len(rows) == 0 {
		return a, authz.ErrNotFound
	}
	a.Administrators = administratorsOf(rows)
	names := slices.DeleteFunc(slices.Clone(a.Administrators[0].Roles), func(n string) bool { return !storable(n) })
	if len(names) == 0 {
		return a, nil
	}
	var roles []administratorRoleRow
	err = db.read.WithContext(ctx).Where("name IN ?", names).Find(&roles).Error
	a.Roles = administratorRolesOf(roles)
	return a, err
}

// AdministratorsOf returns the names of the administrators that the rotation families
// belong to, by family.
func (db *DB) AdministratorsOf(ctx context.Context, families []string) (map[string]string, error) {
	names := map[string]string{}
	families = slices.DeleteFunc(slices.Clone(families), func(f string) bool { return f == "" || !storable(f) })
	for some := range slices.Chunk(families, rowsAtOnce) {
		var rows []administratorRow
		if err := db.read.WithContext(ctx).Select("name", "family").Where("family IN ?", some).Find(&rows).Error; err != nil {
			return nil, err
		}
		for _, r := range rows {
			names[r.Family] = r.Name
		}
	}
	return names, nil
}

// ChangeAdministration calls fn with the administration as it is, and writes what it
// returns in one transaction, under a lock that one change at a time holds. It returns the
// created keys, then the updated ones, with the versions that the triggers gave. fn's error
// rolls everything back and is returned as it is. fn must not use the DB: SQLite has one
// writer.
func (db *DB) ChangeAdministration(ctx context.Context, fn func(authz.Administration) (authz.AdministrationChange, error)) ([]authz.Record, error) {
	return db.writeDecided(ctx, func(tx *gorm.DB) (writing, error) {
		if db.driver == Postgres {
			if err := tx.Exec("SELECT pg_advisory_xact_lock(?)", administrationLock).Error; err != nil {
				return writing{}, err
			}
		}
		before, err := db.administration(tx, true)
		if err != nil {
			return writing{}, err
		}
		c, err := fn(before)
		if err != nil {
			return writing{}, err
		}
		w, err := prepare(authz.Mutation{Create: c.CreateKeys, Update: c.UpdateKeys, Audit: c.Audit})
		if err != nil {
			return writing{}, err
		}
		return w, writeAdministration(tx, &before, &c)
	})
}

// administration reads everything; lock locks the keys' rows, which others write too.
func (db *DB) administration(q *gorm.DB, lock bool) (a authz.Administration, err error) {
	q = q.Session(&gorm.Session{})
	var administrators []administratorRow
	if err := q.Order("name").Find(&administrators).Error; err != nil {
		return a, err
	}
	a.Administrators = administratorsOf(administrators)
	var roles []administratorRoleRow
	if err := q.Order("name").Find(&roles).Error; err != nil {
		return a, err
	}
	a.Roles = administratorRolesOf(roles)
	var families []string
	for i := range administrators {
		if administrators[i].Family != "" {
			families = append(families, administrators[i].Family)
		}
	}
	slices.Sort(families)
	for some := range slices.Chunk(families, rowsAtOnce) { // a join might read all keys
		if err := db.familyKeys(q, some, lock, &a); err != nil {
			return a, err
		}
	}
	return a, nil
}

// familyKeys adds the keys of the families.
func (db *DB) familyKeys(q *gorm.DB, families []string, lock bool, a *authz.Administration) error {
	q = q.Where("family IN ?", families).Order("id")
	if lock && db.driver == Postgres {
		q = q.Clauses(clause.Locking{Strength: "UPDATE"})
	}
	var rows []keyRow
	if err := q.Find(&rows).Error; err != nil {
		return err
	}
	for i := range rows {
		verifier, err := rows[i].verifier()
		k := authz.NewKey{Record: rows[i].listed(), Verifier: verifier}
		if err != nil && k.Record.Unreadable == "" {
			k.Record.Unreadable = "column key_hash or hash_alg: the digest can't be read"
		}
		a.Keys = append(a.Keys, k)
	}
	return nil
}

// writeAdministration writes the rows of administrators and management roles.
func writeAdministration(tx *gorm.DB, before *authz.Administration, c *authz.AdministrationChange) error {
	tx = tx.Session(&gorm.Session{})
	for _, id := range c.Delete {
		if err := tx.Delete(&administratorRow{ID: id}).Error; err != nil {
			return err
		}
	}
	for i := range c.PutRoles {
		if err := putAdministratorRole(tx, before, &c.PutRoles[i]); err != nil {
			return err
		}
	}
	for _, name := range c.DeleteRoles {
		if err := tx.Delete(&administratorRoleRow{Name: name}).Error; err != nil {
			return err
		}
	}
	for i := range c.Put {
		if err := putAdministrator(tx, before, &c.Put[i]); err != nil {
			return err
		}
	}
	return nil
}

func putAdministrator(tx *gorm.DB, before *authz.Administration, x *authz.Administrator) error {
	row, err := newAdministratorRow(x)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(before.Administrators, func(o authz.Administrator) bool { return o.ID == x.ID }) {
		err = tx.Create(row).Error
	} else {
		written := tx.Model(&administratorRow{ID: x.ID}).Select("*").Omit("id", "created_at")
		if x.Unreadable != "" { // its state alone; what can't be read stays as it is
			written = tx.Model(&administratorRow{ID: x.ID}).Select("is_active", "family", "updated_at", "version")
		}
		err = written.Updates(row).Error
	}
	if errors.Is(err, gorm.ErrDuplicatedKey) {
		return fmt.Errorf("administrator %s: %w", x.Name, authz.ErrConflict)
	}
	return err
}

func putAdministratorRole(tx *gorm.DB, before *authz.Administration, r *authz.AdministratorRole) error {
	row, err := newAdministratorRoleRow(r)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(before.Roles, func(o authz.AdministratorRole) bool { return o.Name == r.Name }) {
		err = tx.Create(row).Error
	} else {
		err = tx.Model(&administratorRoleRow{Name: r.Name}).Select("*").Omit("name", "created_at").Updates(row).Error
	}
	if errors.Is(err, gorm.ErrDuplicatedKey) {
		return fmt.Errorf("management role %s: %w", r.Name, authz.ErrConflict)
	}
	return err
}
