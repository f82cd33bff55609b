package models

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"gorm.io/gorm"

	"extauthz/authz"
)

// roleRow is a row of roles.
type roleRow struct {
	Name        string `gorm:"primaryKey"`
	Description string
	Scopes      string
	CreatedAt   time.Time `gorm:"autoCreateTime:false;serializer:typed"`
	UpdatedAt   time.Time `gorm:"autoUpdateTime:false;serializer:typed"`
	Version     uint64    `gorm:"serializer:typed"`

	damage string // why a column can't be read: its value is of another type
}

// damaged records the first column with an invalid value.
func (r *roleRow) damaged(column string, err error) {
	if r.damage == "" {
		r.damage = fmt.Sprintf("column %s: %v", column, err)
	}
}

// TableName returns the table's name to GORM.
func (roleRow) TableName() string { return "roles" }

// role reads a row for decisions: an unreadable one is an error.
func (r *roleRow) role() (authz.Role, error) {
	role := r.listed()
	if role.Unreadable != "" {
		return authz.Role{}, fmt.Errorf("%w: role %s: %s", authz.ErrUnreadable, r.Name, role.Unreadable)
	}
	return role, nil
}

// listed reads a row for lists: an unreadable one has no scopes.
func (r *roleRow) listed() authz.Role {
	role := authz.Role{Name: r.Name, Description: r.Description, CreatedAt: r.CreatedAt.UTC(), UpdatedAt: r.UpdatedAt.UTC(), Version: r.Version}
	if role.Unreadable = r.damage; role.Unreadable != "" {
		return role
	}
	var err error
	if role.Scopes, err = readScopes(r.Scopes); err != nil {
		role.Unreadable = "column scopes: " + err.Error()
	}
	return role
}

// Roles returns those of the named roles that exist, by name.
func (db *DB) Roles(ctx context.Context, names []string) ([]authz.Role, error) {
	names = slices.DeleteFunc(slices.Clone(names), func(n string) bool { return !storable(n) })
	if len(names) == 0 {
		return nil, nil
	}
	rows, err := findRoles(db.read.WithContext(ctx).Where("name IN ?", names))
	if err != nil {
		return nil, err
	}
	return readAll(rows, (*roleRow).role)
}

// NamedRoles is Roles for administrators: a role that can't be read has the reason in Unreadable.
func (db *DB) NamedRoles(ctx context.Context, names []string) ([]authz.Role, error) {
	names = slices.DeleteFunc(slices.Clone(names), func(n string) bool { return !storable(n) })
	if len(names) == 0 {
		return nil, nil
	}
	rows, err := findRoles(db.read.WithContext(ctx).Where("name IN ?", names))
	return listedRoles(rows), err
}

// ListRoles returns the roles whose names are greater than after, in byte order, and at
// most limit (1 to 1000) of them. A role that can't be read is marked, and hides no other
// one.
func (db *DB) ListRoles(ctx context.Context, after string, limit int) ([]authz.Role, error) {
	if err := checkPage(limit, after); err != nil {
		return nil, err
	}
	rows, err := findRoles(db.read.WithContext(ctx).Where("name > ?", after).Limit(limit))
	if err != nil {
		return nil, err
	}
	return listedRoles(rows), nil
}

func listedRoles(rows []roleRow) []authz.Role {
	out := make([]authz.Role, len(rows))
	for i := range rows {
		out[i] = rows[i].listed()
	}
	return out
}

func findRoles(q *gorm.DB) (rows []roleRow, err error) {
	err = q.Order("name").Find(&rows).Error
	return rows, err
}

func newRoleRow(r *authz.Role) (*roleRow, error) {
	if !storable(r.Name, r.Description) {
		return nil, fmt.Errorf("role %q: %w", r.Name, errUnstorable)
	}
	return &roleRow{Name: r.Name, Description: r.Description, Scopes: asJSON(r.Scopes, "[]"),
		CreatedAt: instant(r.CreatedAt), UpdatedAt: instant(r.UpdatedAt), Version: r.Version}, nil
}

// writeRoles creates the roles of put that have version 0, and replaces the others if the
// stored role still has the same version. It deletes the roles named in remove.
func writeRoles(tx *gorm.DB, put []*roleRow, remove []string) error {
	for _, row := range put {
		if row.Version == 0 {
			err := tx.Create(row).Error
			if errors.Is(err, gorm.ErrDuplicatedKey) {
				return fmt.Errorf("role %q: %w", row.Name, authz.ErrConflict)
			}
			if err != nil {
				return err
			}
			continue
		}
		res := tx.Model(&roleRow{}).Where("name = ? AND version = ?", row.Name, row.Version).
			Select("description", "scopes", "updated_at").Updates(row)
		if res.Error != nil {
			return res.Error
		}
		if res.RowsAffected == 0 {
			return fmt.Errorf("role %q: %w", row.Name, authz.ErrPreconditionFailed)
		}
	}
	for _, name := range remove {
		if !storable(name) {
			return fmt.Errorf("role %q: %w", name, authz.ErrNotFound)
		}
		res := tx.Where("name = ?", name).Delete(&roleRow{})
		if res.Error != nil {
			return res.Error
		}
		if res.RowsAffected == 0 {
			return fmt.Errorf("role %q: %w", name, authz.ErrNotFound)
		}
	}
	return nil
}
