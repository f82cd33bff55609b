package models

import (
	"context"
	"errors"
	"fmt"
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
		return authz.Role{}, fmt.Errorf("role %s: column scopes can't be read: %w", r.Name, err)
	}
	return authz.Role{Name: r.Name, Description: r.Description, Scopes: s,
		CreatedAt: r.CreatedAt.UTC(), UpdatedAt: r.UpdatedAt.UTC(), Version: r.Version}, nil
}

// Roles returns those of the named roles that exist, by name.
func (db *DB) Roles(ctx context.Context, names []string) ([]authz.Role, error) {
	if len(names) == 0 {
		return nil, nil
	}
	return findRoles(db.gorm.WithContext(ctx).Where("name IN ?", names))
}

// ListRoles returns at most limit roles whose names come after after.
func (db *DB) ListRoles(ctx context.Context, after string, limit int) ([]authz.Role, error) {
	return findRoles(db.gorm.WithContext(ctx).Where("name > ?", after).Limit(limit))
}

func findRoles(q *gorm.DB) ([]authz.Role, error) {
	var rows []roleRow
	if err := q.Order("name").Find(&rows).Error; err != nil {
		return nil, err
	}
	out := make([]authz.Role, 0, len(rows))
	for i := range rows {
		r, err := rows[i].role()
		if err != nil {
			return nil, err
		}
		out = append(out, r)
	}
	return out, nil
}

func writeRoles(tx *gorm.DB, m authz.Mutation) error {
	for _, r := range m.PutRoles {
		row := &roleRow{Name: r.Name, Description: r.Description, Scopes: asJSON(r.Scopes, "[]"), CreatedAt: r.CreatedAt.UTC(), UpdatedAt: r.UpdatedAt.UTC()}
		if r.Version == 0 {
			err := tx.Create(row).Error
			if errors.Is(err, gorm.ErrDuplicatedKey) {
				return fmt.Errorf("role %q: %w", r.Name, authz.ErrConflict)
			}
			if err != nil {
				return err
			}
			continue
		}
		res := tx.Model(&roleRow{}).Where("name = ? AND version = ?", r.Name, r.Version).
			Select("description", "scopes", "updated_at").Updates(row)
		if res.Error != nil {
			return res.Error
		}
		if res.RowsAffected == 0 {
			return fmt.Errorf("role %q: %w", r.Name, authz.ErrPreconditionFailed)
		}
	}
	for _, name := range m.DeleteRoles {
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
