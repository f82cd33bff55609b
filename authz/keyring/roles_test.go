package keyring_test

import (
	"testing"

	"extauthz/authz"
	"extauthz/authz/keyring"
)

func TestRole_Lifecycle(t *testing.T) {
	b := newBench(t)
	p := admin(t, "*:*", "*")
	made := must(b.keys.CreateRole(t.Context(), p, authz.Role{Name: "clerk", Description: "d", Scopes: scopes(t, "orders:read")}))(t)
	if c := b.notified.take(); len(c) != 1 || c[0] != (authz.Change{Kind: authz.ChangeRole, Role: "clerk", Version: made.Version}) || made.Version == 0 {
		t.Errorf("notified of %+v", c)
	}
	_, err := b.keys.CreateRole(t.Context(), p, authz.Role{Name: "clerk"})
	wantErr(t, err, authz.ErrConflict)

	wider := scopes(t, "orders:*")
	after := must(b.keys.UpdateRole(t.Context(), p, "clerk", keyring.RolePatch{Scopes: &wider, IfVersion: made.Version}))(t)
	if after.Description != "d" || !after.Scopes.Allows("orders", "write") || after.Version <= made.Version {
		t.Errorf("after: %+v", after)
	}
	_, err = b.keys.UpdateRole(t.Context(), p, "clerk", keyring.RolePatch{Description: new("e"), IfVersion: made.Version})
	wantErr(t, err, authz.ErrPreconditionFailed)
	wantErr(t, b.keys.DeleteRole(t.Context(), p, "clerk", made.Version), authz.ErrPreconditionFailed)
	before := b.fake().mutates
	b.notified.take()
	must(b.keys.UpdateRole(t.Context(), p, "clerk", keyring.RolePatch{Scopes: &wider}))(t)
	if b.fake().mutates != before || len(b.notified.take()) != 0 {
		t.Error("an update that changes nothing wrote something")
	}
	if page := must(b.keys.ListRoles(t.Context(), p, "", 0))(t); len(page) != 1 {
		t.Errorf("listed %+v", page)
	}
	wantErr(t, b.keys.DeleteRole(t.Context(), p, "clerk", 0), nil)
	if c := b.notified.take(); len(c) != 1 || c[0].Role != "clerk" {
		t.Errorf("notified of %+v", c)
	}
	_, err = b.keys.GetRole(t.Context(), p, "clerk")
	wantErr(t, err, authz.ErrNotFound)
	wantErr(t, b.keys.DeleteRole(t.Context(), p, "clerk", 0), authz.ErrNotFound)
	if got := b.actions(); got != "role.create role.update role.delete" {
		t.Errorf("audit: %s", got)
	}
}

func TestRole_NeedsGrantsForOldAndNewScopesAndAllProjects(t *testing.T) {
	b := newBench(t)
	orders, billing := scopes(t, "orders:read"), scopes(t, "billing:read")
	must(b.keys.CreateRole(t.Context(), system, authz.Role{Name: "biller", Scopes: billing}))(t)
	for name, c := range map[string]struct {
		p    keyring.Principal
		call func(p keyring.Principal) error
	}{
		"create beyond": {admin(t, "orders:*", "*"), func(p keyring.Principal) error {
			_, err := b.keys.CreateRole(t.Context(), p, authz.Role{Name: "r", Scopes: billing})
			return err
		}},
		"create in one project": {admin(t, "*:*", "shop"), func(p keyring.Principal) error {
			_, err := b.keys.CreateRole(t.Context(), p, authz.Role{Name: "r", Scopes: orders})
			return err
		}},
		"update from beyond": {admin(t, "orders:*", "*"), func(p keyring.Principal) error {
			_, err := b.keys.UpdateRole(t.Context(), p, "biller", keyring.RolePatch{Scopes: &orders})
			return err
		}},
		"update to beyond": {admin(t, "billing:*", "*"), func(p keyring.Principal) error {
			_, err := b.keys.UpdateRole(t.Context(), p, "biller", keyring.RolePatch{Scopes: &orders})
			return err
		}},
		"delete beyond": {admin(t, "orders:*", "*"), func(p keyring.Principal) error {
			return b.keys.DeleteRole(t.Context(), p, "biller", 0)
		}},
	} {
		if err := c.call(c.p); err == nil {
			t.Errorf("%s: allowed", name)
		} else {
			wantErr(t, err, keyring.ErrForbidden)
		}
	}
}

func TestRole_RefusesInvalidNamesAndScopes(t *testing.T) {
	b := newBench(t)
	for _, r := range []authz.Role{
		{Name: ""}, {Name: "a b"}, {Name: "-a"}, {Name: "a", Description: "x\x00"},
		{Name: "a", Scopes: authz.Scopes{{Resource: "o", Actions: nil}}},
	} {
		_, err := b.keys.CreateRole(t.Context(), system, r)
		wantErr(t, err, keyring.ErrInvalid)
	}
}
