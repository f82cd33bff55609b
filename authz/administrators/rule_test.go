package administrators_test

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"extauthz/authz"
	"extauthz/authz/administrators"
	"extauthz/authz/keyring"
)

// TestRule_Cases: single cases of the rule, by the dimension that decides.
func TestRule_Cases(t *testing.T) {
	office := []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
	all := grants(t, "*:*", "*")
	soon := start.Add(time.Hour)
	wide := administrators.CreateRequest{Name: "caller", Roles: []string{"owner"}, Grants: all}
	with := func(r administrators.CreateRequest, edit func(*administrators.CreateRequest)) administrators.CreateRequest {
		edit(&r)
		return r
	}
	other := with(wide, func(r *administrators.CreateRequest) { r.Name = "other" })
	for name, c := range map[string]struct {
		caller, other administrators.CreateRequest
		create        bool // the caller may make the other
		stop          bool // and may take it out of service
	}{
		"an owner":          {wide, other, true, true},
		"other permissions": {with(wide, func(r *administrators.CreateRequest) { r.Roles = []string{"lesser"} }), other, false, false},
		"other scopes":      {with(wide, func(r *administrators.CreateRequest) { r.Grants.Scopes = scopes(t, "orders:*") }), other, false, false},
		"other projects":    {with(wide, func(r *administrators.CreateRequest) { r.Grants.Projects = []string{"shop", "*"} }), other, true, true},
		"another project":   {with(wide, func(r *administrators.CreateRequest) { r.Grants.Projects = []string{"shop"} }), with(other, func(r *administrators.CreateRequest) { r.Grants.Projects = []string{"shop", "bank"} }), false, false},
		"the same project":  {with(wide, func(r *administrators.CreateRequest) { r.Grants.Projects = []string{"shop"} }), with(other, func(r *administrators.CreateRequest) { r.Grants.Projects = []string{"shop"} }), true, true},
		"other users":       {with(wide, func(r *administrators.CreateRequest) { r.Grants.Users = []string{"acme-*"} }), with(other, func(r *administrators.CreateRequest) { r.Grants.Users = []string{"bob"} }), false, false},
		"every user":        {with(wide, func(r *administrators.CreateRequest) { r.Grants.Users = []string{"acme-*"} }), other, false, false},
		"fewer users":       {with(wide, func(r *administrators.CreateRequest) { r.Grants.Users = []string{"acme-*"} }), with(other, func(r *administrators.CreateRequest) { r.Grants.Users = []string{"acme-eu-*", "acme-1"} }), true, true},
		"every network":     {with(wide, func(r *administrators.CreateRequest) { r.Networks = office }), other, false, true},
		"a part of a network": {with(wide, func(r *administrators.CreateRequest) { r.Networks = office }), with(other, func(r *administrators.CreateRequest) {
			r.Networks = []netip.Prefix{netip.MustParsePrefix("192.0.2.128/25")}
		}), true, true},
		"a wider network": {with(wide, func(r *administrators.CreateRequest) { r.Networks = office }), with(other, func(r *administrators.CreateRequest) {
			r.Networks = []netip.Prefix{netip.MustParsePrefix("192.0.0.0/16")}
		}), false, true},
		"one that begins alike": {with(wide, func(r *administrators.CreateRequest) { r.Networks = office }), with(other, func(r *administrators.CreateRequest) {
			r.Networks = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/23")}
		}), false, true},
		"no end":       {with(wide, func(r *administrators.CreateRequest) { r.ExpiresAt = soon }), other, false, true},
		"a later end":  {with(wide, func(r *administrators.CreateRequest) { r.ExpiresAt = soon }), with(other, func(r *administrators.CreateRequest) { r.ExpiresAt = soon.Add(1000) }), false, true},
		"the same end": {with(wide, func(r *administrators.CreateRequest) { r.ExpiresAt = soon }), with(other, func(r *administrators.CreateRequest) { r.ExpiresAt = soon }), true, true},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			owner := b.owner()
			must(b.admins.CreateRole(t.Context(), owner, authz.AdministratorRole{Name: "lesser", Permissions: scopes(t, "extauthz/administrators:* extauthz/keys:*")}))(t)
			caller := b.make(owner, c.caller)
			_, err := b.admins.Create(t.Context(), caller, c.other)
			if (err == nil) != c.create {
				t.Errorf("create: %v", err)
			}
			if err != nil {
				wantErr(t, err, keyring.ErrForbidden)
				must(b.admins.Create(t.Context(), owner, c.other))(t)
			}
			for what, change := range map[string]func() error{
				"rename": func() error {
					_, err := b.admins.Update(t.Context(), caller, "other", administrators.Patch{Description: new("d")})
					return err
				},
				"rotate": func() error {
					_, err := b.admins.Rotate(t.Context(), caller, "other", administrators.RotateOptions{})
					return err
				},
				"narrow": func() error {
					_, err := b.admins.Update(t.Context(), caller, "other", administrators.Patch{Roles: &[]string{"lesser"}})
					return err
				},
			} {
				if err := change(); (err == nil) != c.create {
					t.Errorf("%s: %v", what, err)
				}
			}
			if c.create { // narrowed above
				must(b.admins.Update(t.Context(), owner, "other", administrators.Patch{Roles: &c.other.Roles}))(t)
			}
			_, err = b.admins.EndKey(t.Context(), caller, "other", b.get("other").Keys[0].ID)
			if (err == nil) != c.stop {
				t.Errorf("end a key: %v", err)
			}
			if _, err := b.admins.Disable(t.Context(), caller, "other"); (err == nil) != c.stop {
				t.Errorf("disable: %v", err)
			}
			if _, err := b.admins.Enable(t.Context(), caller, "other"); c.stop && (err == nil) != c.create {
				t.Errorf("enable: %v", err)
			}
			if err := b.admins.Remove(t.Context(), caller, "other", "", 0); (err == nil) != c.stop {
				t.Errorf("remove: %v", err)
			}
		})
	}
}

// TestRule_RolesReachTheirHolders: a management role is changed by those alone who may
// change all that have it.
func TestRule_RolesReachTheirHolders(t *testing.T) {
	b := newBench(t)
	owner := b.owner()
	must(b.admins.CreateRole(t.Context(), owner, authz.AdministratorRole{Name: "shared", Permissions: scopes(t, "extauthz/keys:read")}))(t)
	shop := b.make(owner, administrators.CreateRequest{Name: "shop", Roles: []string{"owner"}, Grants: grants(t, "*:*", "shop")})
	edit := func(p keyring.Principal) error {
		_, err := b.admins.UpdateRole(t.Context(), p, "shared", administrators.RolePatch{Permissions: new(scopes(t, "extauthz/keys:read extauthz/keys:create"))})
		return err
	}
	b.make(owner, administrators.CreateRequest{Name: "everywhere", Roles: []string{"shared"}, Grants: grants(t, "*:*", "*")})
	wantErr(t, edit(shop), keyring.ErrForbidden)
	wantErr(t, b.admins.DeleteRole(t.Context(), owner, "shared", 0), administrators.ErrRoleUsed)
	wantErr(t, b.admins.Remove(t.Context(), owner, "everywhere", "", 0), nil)
	b.make(owner, administrators.CreateRequest{Name: "within", Roles: []string{"shared"}, Grants: grants(t, "orders:*", "shop")})
	wantErr(t, edit(shop), nil)
	// A role that no administrator has holds no more than its maker either: another one might assign it.
	must(b.admins.CreateRole(t.Context(), owner, authz.AdministratorRole{Name: "makers", Permissions: scopes(t, "extauthz/administrator-roles:* extauthz/keys:read")}))(t)
	maker := b.make(owner, administrators.CreateRequest{Name: "maker", Roles: []string{"makers"}})
	_, err := b.admins.CreateRole(t.Context(), maker, authz.AdministratorRole{Name: "more", Permissions: scopes(t, "extauthz/keys:create")})
	wantErr(t, err, keyring.ErrForbidden)
	_, err = b.admins.UpdateRole(t.Context(), maker, "makers", administrators.RolePatch{Permissions: new(scopes(t, "extauthz:*"))})
	wantErr(t, err, keyring.ErrForbidden)
	for _, name := range []string{"owner", "issuer"} {
		_, err = b.admins.CreateRole(t.Context(), owner, authz.AdministratorRole{Name: name, Permissions: scopes(t, "extauthz/keys:read")})
		wantErr(t, err, keyring.ErrInvalid)
		_, err = b.admins.UpdateRole(t.Context(), owner, name, administrators.RolePatch{Description: new("d")})
		wantErr(t, err, keyring.ErrForbidden)
	}
	for _, bad := range []string{"keys:read", "extauthz/keyz:read", "extauthz/keys:reed", "*:*"} {
		_, err = b.admins.CreateRole(t.Context(), owner, authz.AdministratorRole{Name: "bad", Permissions: scopes(t, bad)})
		wantErr(t, err, keyring.ErrInvalid)
	}
}

// TestRoles_AreBounded: each change of the administration reads all of them.
func TestRoles_AreBounded(t *testing.T) {
	b := newBench(t)
	owner := b.owner()
	for i := range administrators.MaxOwnRoles {
		b.store.a.Roles = append(b.store.a.Roles, authz.AdministratorRole{Name: fmt.Sprintf("r%d", i), Permissions: scopes(t, "extauthz/keys:read"), Version: 1})
	}
	_, err := b.admins.CreateRole(t.Context(), owner, authz.AdministratorRole{Name: "more", Permissions: scopes(t, "extauthz/keys:read")})
	wantErr(t, err, authz.ErrConflict)
	wantErr(t, b.admins.DeleteRole(t.Context(), owner, "r0", 0), nil)
	must(b.admins.CreateRole(t.Context(), owner, authz.AdministratorRole{Name: "more", Permissions: scopes(t, "extauthz/keys:read")}))(t)
}

// TestRule_UnreadableCanBeEndedAlone: what a damaged row would hold once it is repaired is
// not known.
func TestRule_UnreadableCanBeEndedAlone(t *testing.T) {
	for _, damage := range []string{"row", "role"} {
		b := newBench(t)
		owner := b.owner()
		must(b.admins.CreateRole(t.Context(), owner, authz.AdministratorRole{Name: "own", Permissions: scopes(t, "extauthz/keys:read")}))(t)
		made := must(b.admins.Create(t.Context(), owner, administrators.CreateRequest{Name: "carol", Roles: []string{"own"}}))(t)
		if damage == "row" {
			x := &b.store.a.Administrators[1]
			x.Unreadable, x.Roles = "column roles: x", nil
			_, err := b.admins.Principal(t.Context(), &made.Keys[0], netip.Addr{})
			wantErr(t, err, authz.ErrUnreadable)
		} else {
			b.store.a.Roles[0].Unreadable, b.store.a.Roles[0].Permissions = "column permissions: x", nil
			if p := must(b.admins.Principal(t.Context(), &made.Keys[0], netip.Addr{}))(t); p.Require(keyring.ReadKeys) == nil {
				t.Error("a damaged role permits something")
			}
		}
		_, err := b.admins.Rotate(t.Context(), owner, "carol", administrators.RotateOptions{})
		wantErr(t, err, authz.ErrUnreadable)
		must(b.admins.Disable(t.Context(), owner, "carol"))(t)
		_, err = b.admins.Enable(t.Context(), owner, "carol")
		wantErr(t, err, authz.ErrUnreadable)
		wantErr(t, b.admins.Remove(t.Context(), owner, "carol", "", 0), nil)
	}
}

// TestRule_AsTheCallerIsThen: the caller's power counts as it is in the transaction.
func TestRule_AsTheCallerIsThen(t *testing.T) {
	b := newBench(t)
	owner := b.owner()
	second := b.make(owner, administrators.CreateRequest{Name: "second", Roles: []string{"owner"}, Grants: grants(t, "*:*", "*")})
	must(b.admins.Update(t.Context(), owner, "second", administrators.Patch{Grants: new(grants(t, "orders:*", "shop"))}))(t)
	_, err := b.admins.Create(t.Context(), second, administrators.CreateRequest{Name: "third", Roles: []string{"owner"}, Grants: grants(t, "*:*", "*")})
	wantErr(t, err, keyring.ErrForbidden)
	must(b.admins.Disable(t.Context(), owner, "second"))(t)
	_, err = b.admins.Create(t.Context(), second, administrators.CreateRequest{Name: "third", Roles: []string{"auditor"}})
	wantErr(t, err, keyring.ErrForbidden)
	wantErr(t, b.admins.Remove(t.Context(), owner, "second", "", 0), nil)
	_, err = b.admins.Create(t.Context(), second, administrators.CreateRequest{Name: "third", Roles: []string{"auditor"}})
	wantErr(t, err, keyring.ErrForbidden)
}
