package administrators

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"extauthz/authz"
	"extauthz/authz/keyring"
)

// ListRoles returns all management roles: the built-in ones, then own ones by name.
func (s *Service) ListRoles(ctx context.Context, p keyring.Principal) ([]authz.AdministratorRole, error) {
	if err := p.Require(keyring.ReadAdministrators); err != nil {
		return nil, err
	}
	a, err := s.store.Administration(ctx)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(a.Roles, func(x, y authz.AdministratorRole) int { return strings.Compare(x.Name, y.Name) })
	return append(Roles(), a.Roles...), nil
}

// GetRole returns a management role, built in or own, or authz.ErrNotFound.
func (s *Service) GetRole(ctx context.Context, p keyring.Principal, name string) (authz.AdministratorRole, error) {
	all, err := s.ListRoles(ctx, p)
	if err != nil {
		return authz.AdministratorRole{}, err
	}
	for _, r := range slices.Backward(all) { // own ones go before built-in ones
		if r.Name == name {
			return r, nil
		}
	}
	return authz.AdministratorRole{}, noRole(name)
}

func noRole(name string) error {
	if !roleForm.MatchString(name) {
		return fmt.Errorf("management role: %w: it is no name of one", authz.ErrNotFound)
	}
	return fmt.Errorf("management role %s: %w", name, authz.ErrNotFound)
}

// CreateRole creates a management role from name, description and permissions of the given
// one. Errors: keyring.ErrForbidden, *keyring.ValidationError, authz.ErrConflict.
func (s *Service) CreateRole(ctx context.Context, p keyring.Principal, r authz.AdministratorRole) (authz.AdministratorRole, error) {
	if err := p.Require(keyring.CreateAdministratorRoles); err != nil {
		return authz.AdministratorRole{}, err
	}
	role := authz.AdministratorRole{Name: r.Name, Description: r.Description, Permissions: r.Permissions}
	if err := s.validateRole(&role); err != nil {
		return authz.AdministratorRole{}, err
	}
	_, err := s.change(ctx, p, func(d *draft) error {
		if ownRole(d, role.Name) != nil {
			return nameTaken{fmt.Sprintf("management role %s: %v", role.Name, authz.ErrConflict)}
		}
		if len(d.before.Roles) >= MaxOwnRoles {
			return nameTaken{fmt.Sprintf("there are %d management roles, as many as there can be: delete others first", len(d.before.Roles))}
		}
		role.CreatedAt, role.UpdatedAt, role.Version = d.now, d.now, firstVersion(d.now)
		d.change.PutRoles = append(d.change.PutRoles, role)
		return s.recordRole(d, actionRoleCreate, role.Name, authz.AdministratorRole{}, role)
	})
	return role, err
}

// RolePatch changes a management role; nil fields stay.
type RolePatch struct {
	Description *string
	Permissions *authz.Scopes // in place of all
	IfVersion   uint64        // as in Patch
}

// UpdateRole changes a management role, at once for all administrators that have it; so
// all of them have to be within the caller's power, before and after. Built-in ones don't
// change. Errors: keyring.ErrForbidden, *keyring.ValidationError, authz.ErrNotFound,
// authz.ErrPreconditionFailed, ErrLastOwner.
func (s *Service) UpdateRole(ctx context.Context, p keyring.Principal, name string, patch RolePatch) (authz.AdministratorRole, error) {
	if err := p.Require(keyring.UpdateAdministratorRoles); err != nil {
		return authz.AdministratorRole{}, err
	}
	var role authz.AdministratorRole
	_, err := s.change(ctx, p, func(d *draft) error {
		was, err := roleAt(d, name, patch.IfVersion)
		if err != nil {
			return err
		}
		if was.Unreadable != "" {
			return fmt.Errorf("%w: management role %s: %s", authz.ErrUnreadable, name, was.Unreadable)
		}
		role = was
		assign(&role.Description, patch.Description)
		assign(&role.Permissions, patch.Permissions)
		if err := s.validateRole(&role); err != nil {
			return err
		}
		if role.Description == was.Description && role.Permissions.Equal(was.Permissions) {
			return nil
		}
		role.Version, role.UpdatedAt = was.Version+1, d.now
		d.change.PutRoles = append(d.change.PutRoles, role)
		return s.recordRole(d, actionRoleUpdate, name, was, role)
	})
	return role, err
}

// DeleteRole deletes a management role that no administrator has. Errors:
// keyring.ErrForbidden, authz.ErrNotFound, authz.ErrPreconditionFailed, ErrRoleUsed.
func (s *Service) DeleteRole(ctx context.Context, p keyring.Principal, name string, ifVersion uint64) error {
	if err := p.Require(keyring.DeleteAdministratorRoles); err != nil {
		return err
	}
	_, err := s.change(ctx, p, func(d *draft) error {
		was, err := roleAt(d, name, ifVersion)
		if err != nil {
			return err
		}
		for i := range d.before.Administrators {
			if slices.Contains(d.before.Administrators[i].Roles, name) {
				return fmt.Errorf("management role %s: %w", name, ErrRoleUsed)
			}
		}
		d.change.DeleteRoles = append(d.change.DeleteRoles, name)
		return s.recordRole(d, actionRoleDelete, name, was, authz.AdministratorRole{})
	})
	return err
}

func ownRole(d *draft, name string) *authz.AdministratorRole {
	i := slices.IndexFunc(d.before.Roles, func(r authz.AdministratorRole) bool { return r.Name == name })
	if i < 0 {
		return nil
	}
	return &d.before.Roles[i]
}

func roleAt(d *draft, name string, version uint64) (authz.AdministratorRole, error) {
	role := ownRole(d, name)
	switch {
	case role == nil && builtIn(name) != nil:
		return authz.AdministratorRole{}, fmt.Errorf("%w: the management role %s is built in: create one of another name", keyring.ErrForbidden, name)
	case role == nil:
		return authz.AdministratorRole{}, noRole(name)
	case version != 0 && version != role.Version:
		return authz.AdministratorRole{}, fmt.Errorf("management role %s: %w: read it again", name, authz.ErrPreconditionFailed)
	}
	return *role, nil
}
