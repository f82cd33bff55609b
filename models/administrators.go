package models

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"extauthz/authz"
)

// administratorRow is a row of administrators.
type administratorRow struct {
	ID           string `gorm:"primaryKey"`
	Name         string
	Description  string
	Roles        string     // JSON
	Grants       string     // JSON
	AllowedCIDRs string     `gorm:"column:allowed_cidrs"` // JSON
	IsActive     bool       `gorm:"serializer:typed"`
	ExpiresAt    *time.Time `gorm:"serializer:typed"`
	Family       string
	CreatedBy    string
	CreatedAt    time.Time `gorm:"autoCreateTime:false;serializer:typed"`
	UpdatedAt    time.Time `gorm:"autoUpdateTime:false;serializer:typed"`
	Version      uint64    `gorm:"serializer:typed"`

	damage string // what a column holds that is of another type
}

// damaged records the first column with an invalid value.
func (r *administratorRow) damaged(column string, err error) {
	if r.damage == "" {
		r.damage = fmt.Sprintf("column %s: %v", column, err)
	}
}

// TableName returns the table's name to GORM.
func (administratorRow) TableName() string { return "administrators" }

// administrator reads a row; an unreadable one has no roles, grants and networks.
func (r *administratorRow) administrator() authz.Administrator {
	x := authz.Administrator{ID: r.ID, Name: r.Name, Description: r.Description, Active: r.IsActive, ExpiresAt: fromNull(r.ExpiresAt),
		Family: r.Family, CreatedBy: r.CreatedBy, CreatedAt: r.CreatedAt.UTC(), UpdatedAt: r.UpdatedAt.UTC(), Version: r.Version, Unreadable: r.damage}
	if x.Unreadable != "" {
		return x
	}
	roles, grants, networks, err := r.parse()
	if err != nil {
		x.Unreadable = err.Error()
		return x
	}
	x.Roles, x.Grants, x.Networks = roles, grants, networks
	return x
}

func (r *administratorRow) parse() (roles []string, grants authz.Grants, networks []netip.Prefix, err error) {
	if err = json.Unmarshal([]byte(r.Roles), &roles); err != nil {
		return nil, grants, nil, fmt.Errorf("column roles: %w", err)
	}
	if grants, err = readGrants(r.Grants); err != nil {
		return nil, grants, nil, fmt.Errorf("column grants: %w", err)
	}
	if networks, err = readNetworks(r.AllowedCIDRs); err != nil {
		return nil, grants, nil, fmt.Errorf("column allowed_cidrs: %w", err)
	}
	if len(roles) == 0 {
		roles = nil
	}
	if len(networks) == 0 {
		networks = nil
	}
	return roles, grants, networks, nil
}

func newAdministratorRow(x *authz.Administrator) (*administratorRow, error) {
	texts := slices.Concat([]string{x.ID, x.Name, x.Description, x.Family, x.CreatedBy}, x.Roles, x.Grants.Projects, x.Grants.Users)
	if !storable(texts...) {
		return nil, fmt.Errorf("administrator %q: %w", x.Name, errUnstorable)
	}
	return &administratorRow{ID: x.ID, Name: x.Name, Description: x.Description, Roles: asJSON(x.Roles, "[]"), Grants: asJSON(x.Grants, "{}"),
		AllowedCIDRs: asJSON(x.Networks, "[]"), IsActive: x.Active, ExpiresAt: toNull(x.ExpiresAt), Family: x.Family, CreatedBy: x.CreatedBy,
		CreatedAt: instant(x.CreatedAt), UpdatedAt: instant(x.UpdatedAt), Version: x.Version}, nil
}

// administratorRoleRow is a row of administrator_roles.
type administratorRoleRow struct {
	Name        string `gorm:"primaryKey"`
	Description string
	Permissions string    // JSON, as scopes
	CreatedAt   time.Time `gorm:"autoCreateTime:false;serializer:typed"`
	UpdatedAt   time.Time `gorm:"autoUpdateTime:false;serializer:typed"`
	Version     uint64    `gorm:"serializer:typed"`

	damage string // what a column holds that is of another type
}

// damaged records the first column with an invalid value.
func (r *administratorRoleRow) damaged(column string, err error) {
	if r.damage == "" {
		r.damage = fmt.Sprintf("column %s: %v", column, err)
	}
}

// TableName returns the table's name to GORM.
func (administratorRoleRow) TableName() string { return "administrator_roles" }

// role reads a row; an unreadable one has no permissions.
func (r *administratorRoleRow) role() authz.AdministratorRole {
	role := authz.AdministratorRole{Name: r.Name, Description: r.Description, CreatedAt: r.CreatedAt.UTC(), UpdatedAt: r.UpdatedAt.UTC(),
		Version: r.Version, Unreadable: r.damage}
	if role.Unreadable != "" {
		return role
	}
	var err error
	if role.Permissions, err = readScopes(r.Permissions); err != nil {
		role.Unreadable = "column permissions: " + err.Error()
	}
	return role
}

func newAdministratorRoleRow(r *authz.AdministratorRole) (*administratorRoleRow, error) {
	if !storable(r.Name, r.Description) {
		return nil, fmt.Errorf("management role %q: %w", r.Name, errUnstorable)
	}
	return &administratorRoleRow{Name: r.Name, Description: r.Description, Permissions: asJSON(r.Permissions, "[]"),
		CreatedAt: instant(r.CreatedAt), UpdatedAt: instant(r.UpdatedAt), Version: r.Version}, nil
}

func administratorsOf(rows []administratorRow) []authz.Administrator {
	out := make([]authz.Administrator, len(rows))
	for i := range rows {
		out[i] = rows[i].administrator()
	}
	return out
}

func administratorRolesOf(rows []administratorRoleRow) []authz.AdministratorRole {
	out := make([]authz.AdministratorRole, len(rows))
	for i := range rows {
		out[i] = rows[i].role()
	}
	return out
}

// readGrants reads the column grants.
func readGrants(text string) (authz.Grants, error) {
	var stored struct {
		Scopes          []storedScope
		Projects, Users []string
	}
	if err := json.Unmarshal([]byte(text), &stored); err != nil {
		return authz.Grants{}, err
	}
	scopes, err := newScopes(stored.Scopes)
	return authz.Grants{Scopes: scopes, Projects: stored.Projects, Users: stored.Users}, err
}

// readNetworks reads the column allowed_cidrs.
func readNetworks(text string) (networks []netip.Prefix, err error) {
	var stored []storedNetwork
	if err := json.Unmarshal([]byte(text), &stored); err != nil {
		return nil, err
	}
	for _, n := range stored {
		if !netip.Prefix(n).IsValid() {
			return nil, errors.New("an entry is null")
		}
		networks = append(networks, netip.Prefix(n))
	}
	return networks, nil
}
