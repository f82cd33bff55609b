package models

import (
	"context"
	"encoding/json"
	"slices"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"extauthz/authz"
)

// administrationLock is the advisory lock that a guard and Selection.Administrators hold
// in Postgres. SQLite needs none, since it has one writer. A transaction locks rows of
// keys first, then rows of roles, then takes this lock, and locks no row after it.
const administrationLock = 0x65787461757468

// mayAdminister finds rows that may hold reserved scopes by their JSON. It repeats the
// condition of the index api_keys_administrators word for word: with a parameter, the
// database would not use that index. The parsed scopes of the found rows then decide.
const mayAdminister = `scopes LIKE '%"` + authz.ReservedResource + `%'`

// roleAdministrators bounds how many keys that administer through a role are read.
const roleAdministrators = 10_000

// Administration returns the keys that manage keys at present.
func (db *DB) Administration(ctx context.Context) (authz.Administration, error) {
	return db.administration(db.read.WithContext(ctx))
}

// guard calls m.Guard if the mutation changes an administrator, under a lock that is held
// until the transaction ends. selected holds the keys before the mutation; their rows are
// locked.
func (db *DB) guard(tx *gorm.DB, selected []authz.Record, m *authz.Mutation) error {
	if m.Guard == nil {
		return nil
	}
	administers, names := false, slices.Clone(m.DeleteRoles)
	for _, role := range m.PutRoles {
		names = append(names, role.Name)
	}
	strength := clause.LockingStrengthUpdate
	if len(names) == 0 {
		strength = clause.LockingStrengthShare
	}
	for _, next := range m.Update {
		i := slices.IndexFunc(selected, func(r authz.Record) bool { return r.ID == next.ID })
		if i >= 0 {
			administers = administers || selected[i].Scopes.Administers()
			names = append(names, selected[i].Roles...)
		}
	}
	names = slices.DeleteFunc(names, func(n string) bool { return !storable(n) })
	if len(names) > 0 {
		q := tx.Where("name IN ?", names)
		if db.driver == Postgres { // so that none of them becomes an administrators' role meanwhile
			q = q.Clauses(clause.Locking{Strength: strength})
		}
		rows, err := findRoles(q)
		if err != nil {
			return err
		}
		administers = administers || slices.ContainsFunc(rows, func(r roleRow) bool { return r.listed().Scopes.Administers() })
	}
	if !administers {
		return nil
	}
	if err := db.lockAdministration(tx); err != nil {
		return err
	}
	before, err := db.administration(tx)
	if err != nil {
		return err
	}
	return m.Guard(before)
}

func (db *DB) lockAdministration(tx *gorm.DB) error {
	if db.driver != Postgres {
		return nil
	}
	return tx.Exec("SELECT pg_advisory_xact_lock(?)", administrationLock).Error
}

// administration finds the keys that hold reserved scopes themselves by an index. Only if
// a role grants reserved scopes does it search all keys for those that have the role.
func (db *DB) administration(q *gorm.DB) (a authz.Administration, err error) {
	q = q.Session(&gorm.Session{})
	rows, err := findRoles(q.Where(mayAdminister))
	if err != nil {
		return a, err
	}
	for i := range rows {
		if role := rows[i].listed(); role.Scopes.Administers() {
			a.Roles = append(a.Roles, role)
		}
	}
	active := q.Where("is_active AND revoked_at IS NULL").Session(&gorm.Session{})
	var keys []keyRow
	if err := active.Where(mayAdminister).Find(&keys).Error; err != nil {
		return a, err
	}
	if len(a.Roles) > 0 {
		contains := "instr(roles, ?) > 0"
		if db.driver == Postgres {
			contains = "strpos(roles, ?) > 0"
		}
		has := q.Where("FALSE")
		for _, role := range a.Roles {
			name, err := json.Marshal(role.Name)
			if err != nil {
				return a, err
			}
			has = has.Or(contains, string(name))
		}
		var more []keyRow
		if err := active.Where("NOT (" + mayAdminister + ")").Where(has).Order("id DESC").Limit(roleAdministrators).Find(&more).Error; err != nil {
			return a, err
		}
		keys = append(keys, more...)
	}
	return a, yieldReadable(keys, func(rec authz.Record, v authz.Verifier) error {
		if a.Rights(&rec).Administers() {
			a.Keys = append(a.Keys, authz.NewKey{Record: rec, Verifier: v})
		}
		return nil
	})
}
