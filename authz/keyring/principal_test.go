package keyring_test

import (
	"context"
	"testing"

	"extauthz/authz"
	"extauthz/authz/keyring"
)

// operations lists every method with the permission that it requires.
var operations = []struct {
	name string
	need keyring.Permission
	call func(context.Context, *keyring.Service, keyring.Principal, string) error
}{
	{"create", keyring.CreateKeys, func(ctx context.Context, s *keyring.Service, p keyring.Principal, _ string) error {
		_, err := s.Create(ctx, p, keyring.CreateRequest{UserID: "u", Name: "n"})
		return err
	}},
	{"get", keyring.ReadKeys, func(ctx context.Context, s *keyring.Service, p keyring.Principal, ref string) error {
		_, err := s.Get(ctx, p, ref)
		return err
	}},
	{"list", keyring.ReadKeys, func(ctx context.Context, s *keyring.Service, p keyring.Principal, _ string) error {
		_, err := s.List(ctx, p, authz.KeyFilter{})
		return err
	}},
	{"usage", keyring.ReadUsage, func(ctx context.Context, s *keyring.Service, p keyring.Principal, ref string) error {
		_, err := s.Usage(ctx, p, []string{ref})
		return err
	}},
	{"update", keyring.UpdateKeys, func(ctx context.Context, s *keyring.Service, p keyring.Principal, ref string) error {
		_, err := s.Update(ctx, p, ref, keyring.Patch{Name: new("m")})
		return err
	}},
	{"disable", keyring.UpdateKeys, func(ctx context.Context, s *keyring.Service, p keyring.Principal, ref string) error {
		_, err := s.Disable(ctx, p, ref)
		return err
	}},
	{"enable", keyring.UpdateKeys, func(ctx context.Context, s *keyring.Service, p keyring.Principal, ref string) error {
		_, err := s.Enable(ctx, p, ref)
		return err
	}},
	{"rotate", keyring.RotateKeys, func(ctx context.Context, s *keyring.Service, p keyring.Principal, ref string) error {
		_, err := s.Rotate(ctx, p, ref, keyring.RotateOptions{})
		return err
	}},
	{"revoke", keyring.RevokeKeys, func(ctx context.Context, s *keyring.Service, p keyring.Principal, ref string) error {
		_, err := s.Revoke(ctx, p, []string{ref}, keyring.RevokeOptions{})
		return err
	}},
	{"revoke user", keyring.RevokeKeys, func(ctx context.Context, s *keyring.Service, p keyring.Principal, _ string) error {
		_, err := s.RevokeUser(ctx, p, "u", keyring.RevokeOptions{})
		return err
	}},
	{"create role", keyring.CreateRoles, func(ctx context.Context, s *keyring.Service, p keyring.Principal, _ string) error {
		_, err := s.CreateRole(ctx, p, authz.Role{Name: "r"})
		return err
	}},
	{"get role", keyring.ReadRoles, func(ctx context.Context, s *keyring.Service, p keyring.Principal, _ string) error {
		_, err := s.GetRole(ctx, p, "r")
		return err
	}},
	{"list roles", keyring.ReadRoles, func(ctx context.Context, s *keyring.Service, p keyring.Principal, _ string) error {
		_, err := s.ListRoles(ctx, p, "", 0)
		return err
	}},
	{"update role", keyring.UpdateRoles, func(ctx context.Context, s *keyring.Service, p keyring.Principal, _ string) error {
		_, err := s.UpdateRole(ctx, p, "r", keyring.RolePatch{Description: new("d")})
		return err
	}},
	{"delete role", keyring.DeleteRoles, func(ctx context.Context, s *keyring.Service, p keyring.Principal, _ string) error {
		return s.DeleteRole(ctx, p, "r", 0)
	}},
	{"audit", keyring.ReadAudit, func(ctx context.Context, s *keyring.Service, p keyring.Principal, _ string) error {
		_, err := s.ListAudit(ctx, p, authz.AuditFilter{})
		return err
	}},
}

func TestPermissions_EachOperationNeedsOnlyItsOwn(t *testing.T) {
	b := newBench(t)
	key := b.create(keyring.CreateRequest{Scopes: scopes(t, "orders:read")})
	p := admin(t, "*:*", "*")
	for _, op := range operations {
		for _, has := range []string{"*:*", "extauthz/explain:create", "extauthz/cache:* extauthz/routes:read"} {
			p.Permissions = scopes(t, has)
			if err := op.call(t.Context(), b.keys, p, key.Record.ID); err == nil {
				t.Errorf("%s: allowed with %s", op.name, has)
			} else {
				wantErr(t, err, keyring.ErrForbidden)
			}
		}
	}
	// Each permission alone is enough for its operation. The order lets each operation
	// succeed after the ones before it.
	for _, i := range []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 12, 13, 14, 15, 9} {
		op := operations[i]
		p.Permissions = scopes(t, string(op.need))
		if err := op.call(t.Context(), b.keys, p, key.Record.ID); err != nil {
			t.Errorf("%s: refused with %s: %v", op.name, op.need, err)
		}
	}
}

func TestPrincipal_ZeroMayDoNothing(t *testing.T) {
	b := newBench(t)
	for _, op := range operations {
		wantErr(t, op.call(t.Context(), b.keys, keyring.Principal{}, "x"), keyring.ErrForbidden)
	}
}

// TestGrants_BoundEveryOperation: each operation that gives rights to a key is refused if
// the grants do not cover the rights, and allowed with wider grants.
func TestGrants_BoundEveryOperation(t *testing.T) {
	type attempt = func(context.Context, *bench, keyring.Principal) error
	create := func(r keyring.CreateRequest) attempt {
		return func(ctx context.Context, b *bench, p keyring.Principal) error {
			r.UserID, r.Name = "u", "n"
			if r.Project == "" {
				r.Project = "shop"
			}
			_, err := b.keys.Create(ctx, p, r)
			return err
		}
	}
	update := func(has string, patch keyring.Patch) attempt {
		return func(ctx context.Context, b *bench, p keyring.Principal) error {
			key := b.create(keyring.CreateRequest{Project: "shop", Scopes: scopes(b.T, has)})
			_, err := b.keys.Update(ctx, p, key.Record.ID, patch)
			return err
		}
	}
	billing, orders := scopes(t, "billing:read"), scopes(t, "orders/eu:read")
	for _, c := range []struct {
		name   string
		try    attempt
		enough string // grants that suffice, in all projects; empty: those within shop do
	}{
		{"create within", create(keyring.CreateRequest{Scopes: orders}), ""},
		{"create with other scopes", create(keyring.CreateRequest{Scopes: billing}), "*:*"},
		{"create with a role of other scopes", create(keyring.CreateRequest{Roles: []string{"biller"}}), "*:*"},
		{"create in another project", create(keyring.CreateRequest{Project: "bank"}), "*:*"},
		{"update within", update("orders:read", keyring.Patch{Scopes: &orders}), ""},
		{"update to other scopes", update("orders:read", keyring.Patch{Scopes: &billing}), "*:*"},
		{"update to a role of other scopes", update("orders:read", keyring.Patch{Roles: &[]string{"biller"}}), "*:*"},
		{"update of what has other scopes", update("billing:read", keyring.Patch{Name: new("m")}), "*:*"},
		{"update that takes other scopes away", update("billing:read", keyring.Patch{Scopes: &orders}), "*:*"},
		{"move to another project", update("orders:read", keyring.Patch{Project: new("bank")}), "*:*"},
		{"move to no project", update("orders:read", keyring.Patch{Project: new("")}), "*:*"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t)
			must(b.keys.CreateRole(t.Context(), system, authz.Role{Name: "biller", Scopes: billing}))(t)
			err := c.try(t.Context(), b, admin(t, "orders:*", "shop"))
			if c.enough == "" {
				wantErr(t, err, nil)
				return
			}
			wantErr(t, err, keyring.ErrForbidden)
			wantErr(t, c.try(t.Context(), b, admin(t, c.enough, "*")), nil)
		})
	}
}

// TestAdministratorKeys_AreOutOfReach: no operation here changes an administrator's key,
// or another one of its family, for any caller.
func TestAdministratorKeys_AreOutOfReach(t *testing.T) {
	for _, op := range operations[4:10] { // all operations that change keys
		t.Run(op.name, func(t *testing.T) {
			b := newBench(t)
			key := b.create(keyring.CreateRequest{}).Record
			next := must(b.keys.Rotate(t.Context(), system, key.ID, keyring.RotateOptions{}))(t).Record
			b.fake().administrators[key.Family] = "boss"
			before := b.fake().mutates
			for _, p := range []keyring.Principal{system, admin(t, "*:*", "*")} {
				for _, id := range []string{key.ID, next.ID} {
					wantErr(t, op.call(t.Context(), b.keys, p, id), keyring.ErrAdministratorKey)
				}
			}
			if b.fake().mutates != before {
				t.Error("something was written")
			}
		})
	}
}

// TestReservedScopes_AreNoRightsOfKeys: no key and no role gets scopes on the reserved
// resource; a key that has some from a former release can be ended, and nothing else.
func TestReservedScopes_AreNoRightsOfKeys(t *testing.T) {
	boss := scopes(t, "extauthz/keys:read")
	for _, by := range []string{"own scope", "role"} {
		b := newBench(t)
		_, err := b.keys.Create(t.Context(), system, keyring.CreateRequest{UserID: "u", Name: "n", Scopes: boss})
		wantErr(t, err, keyring.ErrInvalid)
		_, err = b.keys.CreateRole(t.Context(), system, authz.Role{Name: "r", Scopes: boss})
		wantErr(t, err, keyring.ErrInvalid)
		key := b.create(keyring.CreateRequest{}).Record
		must(b.keys.CreateRole(t.Context(), system, authz.Role{Name: "reader", Scopes: scopes(t, "orders:read")}))(t)
		_, err = b.keys.UpdateRole(t.Context(), system, "reader", keyring.RolePatch{Scopes: &boss})
		wantErr(t, err, keyring.ErrInvalid)
		if by == "role" {
			must(b.keys.Update(t.Context(), system, key.ID, keyring.Patch{Roles: &[]string{"reader"}}))(t)
			role := b.fake().roles["reader"]
			role.Scopes = boss
			b.fake().roles["reader"] = role
			_, err = b.keys.Create(t.Context(), system, keyring.CreateRequest{UserID: "u", Name: "n", Roles: []string{"reader"}})
			wantErr(t, err, keyring.ErrForbidden)
		} else {
			b.former(key, "extauthz/keys:read")
		}
		for _, op := range operations[4:8] {
			if op.name != "disable" {
				wantErr(t, op.call(t.Context(), b.keys, system, key.ID), keyring.ErrForbidden)
			}
		}
		p := admin(t, "orders:*", "*")
		must(b.keys.Disable(t.Context(), p, key.ID))(t)
		must(b.keys.Revoke(t.Context(), p, []string{key.ID}, keyring.RevokeOptions{}))(t)
		if by == "role" {
			wantErr(t, b.keys.DeleteRole(t.Context(), p, "reader", 0), nil)
		}
	}
}

func TestRotate_NeedsCoverOfAllRights(t *testing.T) {
	b := newBench(t)
	must(b.keys.CreateRole(t.Context(), system, authz.Role{Name: "biller", Scopes: scopes(t, "billing:*")}))(t)
	for _, r := range []keyring.CreateRequest{
		{Scopes: scopes(t, "billing:read")},
		{Roles: []string{"biller"}},
	} {
		r.Project = "shop"
		key := b.create(r)
		_, err := b.keys.Rotate(t.Context(), admin(t, "orders:*", "shop"), key.Record.ID, keyring.RotateOptions{})
		wantErr(t, err, keyring.ErrForbidden)
	}
}
