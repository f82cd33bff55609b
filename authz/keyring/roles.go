package keyring

import (
	"context"
	"fmt"
	"maps"

	"extauthz/authz"
)

// RolePatch changes a role; nil fields stay.
type RolePatch struct {
	Description *string       // at most 500 characters
	Scopes      *authz.Scopes // in place of all scopes; need not be canonical
	IfVersion   uint64        // as in Patch
}

// CreateRole creates a role with the name, description and scopes of r. If keys still
// carry the name, from a role that was deleted earlier, they get the new role's scopes.
// Errors: ErrForbidden, *ValidationError, authz.ErrConflict.
func (s *Service) CreateRole(ctx context.Context, p Principal, r authz.Role) (authz.Role, error) {
	if err := p.Require(CreateRoles); err != nil {
		return authz.Role{}, err
	}
	v := &Problems{Format: s.format}
	v.roleName("name", r.Name)
	v.Text("description", r.Description, MaxDescription)
	now := s.now()
	role := authz.Role{
		Name: r.Name, Description: r.Description, Scopes: v.Scopes("scopes", r.Scopes),
		CreatedAt: now, UpdatedAt: now,
	}
	if err := v.Err(); err != nil {
		return authz.Role{}, err
	}
	if err := p.coverRole(role.Scopes); err != nil {
		return authz.Role{}, err
	}
	if _, err := s.role(ctx, role.Name); err == nil {
		return authz.Role{}, fmt.Errorf("role %s: %w", role.Name, authz.ErrConflict)
	}
	m := authz.Mutation{PutRoles: []authz.Role{role}}
	if err := s.recordRole(&m, p, now, actionRoleCreate, role.Name, authz.Role{}, role); err != nil {
		return authz.Role{}, err
	}
	return s.writeRole(ctx, p, role, m)
}

// GetRole returns a role, or authz.ErrNotFound.
func (s *Service) GetRole(ctx context.Context, p Principal, name string) (authz.Role, error) {
	if err := p.Require(ReadRoles); err != nil {
		return authz.Role{}, err
	}
	return s.role(ctx, name)
}

// ListRoles returns a page of roles, sorted by name: those whose names are greater than
// after. A limit of 0 means DefaultLimit.
func (s *Service) ListRoles(ctx context.Context, p Principal, after string, limit int) ([]authz.Role, error) {
	if err := p.Require(ReadRoles); err != nil {
		return nil, err
	}
	limit, err := pageLimit(limit)
	if err != nil {
		return nil, err
	}
	return s.store.ListRoles(ctx, after, limit)
}

// UpdateRole changes a role, for all keys that carry it, and returns it as it is
// afterwards. A patch that changes nothing writes nothing. Errors: ErrForbidden,
// *ValidationError, authz.ErrNotFound, authz.ErrPreconditionFailed.
func (s *Service) UpdateRole(ctx context.Context, p Principal, name string, patch RolePatch) (authz.Role, error) {
	if err := p.Require(UpdateRoles); err != nil {
		return authz.Role{}, err
	}
	before, err := s.roleAt(ctx, name, patch.IfVersion)
	if err != nil {
		return authz.Role{}, err
	}
	if before.Unreadable != "" {
		return authz.Role{}, fmt.Errorf("%w: role %s: %s", authz.ErrUnreadable, name, before.Unreadable)
	}
	v := &Problems{Format: s.format}
	role := before
	if patch.Description != nil {
		role.Description = *patch.Description
		v.Text("description", role.Description, MaxDescription)
	}
	if patch.Scopes != nil {
		role.Scopes = v.Scopes("scopes", *patch.Scopes)
	}
	if err := v.Err(); err != nil {
		return authz.Role{}, err
	}
	if err := p.coverRole(before.Scopes.Union(role.Scopes)); err != nil {
		return authz.Role{}, err
	}
	if maps.Equal(roleFacts(before), roleFacts(role)) {
		return before, nil
	}
	role.UpdatedAt = s.now()
	// role has the old version still. The store refuses to overwrite any other version,
	// since that one was not judged here.
	m := authz.Mutation{PutRoles: []authz.Role{role}}
	if err := s.recordRole(&m, p, role.UpdatedAt, actionRoleUpdate, name, before, role); err != nil {
		return authz.Role{}, err
	}
	return s.writeRole(ctx, p, role, m)
}

// DeleteRole deletes a role; keys that carry it lose its scopes and keep its
// name. ifVersion is as in Patch. Errors: ErrForbidden, authz.ErrNotFound,
// authz.ErrPreconditionFailed.
func (s *Service) DeleteRole(ctx context.Context, p Principal, name string, ifVersion uint64) error {
	if err := p.Require(DeleteRoles); err != nil {
		return err
	}
	role, err := s.roleAt(ctx, name, ifVersion)
	if err != nil {
		return err
	}
	if err := p.coverRole(role.Scopes); err != nil {
		return err
	}
	m := authz.Mutation{DeleteRoles: []string{name}}
	if err := s.recordRole(&m, p, s.now(), actionRoleDelete, name, role, authz.Role{}); err != nil {
		return err
	}
	if _, err := s.mutate(ctx, authz.Selection{}, func([]authz.Record) (authz.Mutation, error) { return m, nil }); err != nil {
		return err
	}
	s.notifier.Changed(context.WithoutCancel(ctx), []authz.Change{{Kind: authz.ChangeRole, Role: name}})
	return nil
}

// coverRole returns ErrForbidden unless the principal may give the scopes to keys of
// every project and take them away.
func (p Principal) coverRole(scopes authz.Scopes) error {
	if !p.everywhere() {
		return fmt.Errorf("%w: roles reach into every project, and you may not act in all", ErrForbidden)
	}
	return p.coverScopes(scopes.Ordinary())
}

// writeRole writes m and returns the role as it was stored.
func (s *Service) writeRole(ctx context.Context, p Principal, role authz.Role, m authz.Mutation) (authz.Role, error) {
	_, err := s.mutate(ctx, authz.Selection{}, func([]authz.Record) (authz.Mutation, error) { return m, nil })
	if err != nil {
		return authz.Role{}, err
	}
	ctx = context.WithoutCancel(ctx)
	change := authz.Change{Kind: authz.ChangeRole, Role: role.Name}
	stored, err := s.role(ctx, role.Name)
	if err == nil {
		role, change.Version = stored, stored.Version
	} else {
		// The role is written; only its version could not be read. The notifier reads the
		// feed then.
		s.log.WarnContext(ctx, "role was written but could not be read again", "role", role.Name, "error", err)
		role.Version = 0
	}
	s.notifier.Changed(ctx, []authz.Change{change})
	return role, nil
}

func (s *Service) roleAt(ctx context.Context, name string, version uint64) (authz.Role, error) {
	role, err := s.role(ctx, name)
	if err == nil && version != 0 && version != role.Version {
		return authz.Role{}, fmt.Errorf("role %s: %w: read it again", name, authz.ErrPreconditionFailed)
	}
	return role, err
}

func (s *Service) role(ctx context.Context, name string) (authz.Role, error) {
	if !roleNameForm.MatchString(name) {
		return authz.Role{}, fmt.Errorf("role: %w: it is no role name", authz.ErrNotFound)
	}
	roles, err := s.readRoles(ctx, []string{name})
	if err != nil {
		return authz.Role{}, err
	}
	if roles[name] == nil {
		return authz.Role{}, fmt.Errorf("role %s: %w", name, authz.ErrNotFound)
	}
	return *roles[name], nil
}
