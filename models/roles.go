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
	CreatedAt   time.Time `gorm:"autoCreateTime:false"`
	UpdatedAt   time.Time `gorm:"autoUpdateTime:false"`
	Version     uint64
}

// TableName is GORM's way of naming the table.
func (roleRow) TableName() string { return "roles" }

func (r *roleRow) role() (authz.Role, error) {
	s, err := readScopes(r.Scopes)
	if err != nil {
		return authz.Role{}, fmt.Errorf("%w: role %s: column scopes: %w", authz.ErrUnreadable, r.Name, err)
	}
	role := r.plain()
	role.Scopes = s
	return role, nil
}

// plain is the role with what needs no reading.
func (r *roleRow) plain() authz.Role {
	return authz.Role{Name: r.Name, Description: r.Description, CreatedAt: r.CreatedAt.UTC(), UpdatedAt: r.UpdatedAt.UTC(), Version: r.Version}
}

// Roles returns those of the named roles that exist, by name.
func (db *DB) Roles(ctx context.Context, names []string) ([]authz.Role, error) {
	names = slices.DeleteFunc(slices.Clone(names), func(n string) bool { return !storable(n) })
	if len(names) == 0 {
		return nil, nil
	}
	var rows []roleRow
	if err := db.read.WithContext(ctx).Where("name IN ?", names).Order("name").Find(&rows).Error; err != nil {
		return nil, err
	}
	out := make([]authz.Role, len(rows))
	for i := range rows {
		var err error
		if out[i], err = rows[i].role(); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// ListRoles returns at most limit roles, 1 to 1000, whose names come after
// after, in the order of their bytes. One that can't be read says so, and hides no
// other one.
func (db *DB) ListRoles(ctx context.Context, after string, limit int) ([]authz.Role, error) {
	if err := checkPage(limit, after); err != nil {
		return nil, err
	}
	var rows []roleRow
	if err := db.read.WithContext(ctx).Where("name > ?", after).Order("name").Limit(limit).Find(&rows).Error; err != nil {
		return nil, err
	}
	out := make([]authz.Role, len(rows))
	for i := range rows {
		out[i] = rows[i].plain()
		var err error
		if out[i].Scopes, err = readScopes(rows[i].Scopes); err != nil {
			out[i].Unreadable = "column scopes: " + err.Error()
		}
	}
	return out, nil
}

func newRoleRow(r *authz.Role) (*roleRow, error) {
	if !storable(r.Name, r.Description) {
		return nil, fmt.Errorf("role %q: %w", r.Name, errUnstorable)
	}
	return &roleRow{Name: r.Name, Description: r.Description, Scopes: asJSON(r.Scopes, "[]"),
		CreatedAt: instant(r.CreatedAt), UpdatedAt: instant(r.UpdatedAt), Version: r.Version}, nil
}

// writeRoles creates those of version 0 and replaces the others, if they still
// have the version that they name.
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
