package administrators

import (
	"slices"

	"extauthz/authz"
	"extauthz/authz/keyring"
)

// The built-in management roles.
const (
	Owner   = "owner"
	Manager = "manager"
	Support = "support"
	Auditor = "auditor"
	Issuer  = "issuer"
)

// Roles returns the built-in management roles, the widest first. A limit by project is not
// part of a role but of an administrator's grants: with one project in its grants, an owner
// is the owner of that project.
func Roles() []authz.AdministratorRole {
	role := func(name, description string, permissions ...keyring.Permission) authz.AdministratorRole {
		return authz.AdministratorRole{Name: name, Description: description, Permissions: set(permissions...)}
	}
	return []authz.AdministratorRole{
		{Name: Owner, Description: "everything, administrators too", Permissions: all()},
		role(Manager, "keys and roles, with all that is to be seen of them",
			keyring.CreateKeys, keyring.ReadKeys, keyring.UpdateKeys, keyring.RevokeKeys, keyring.RotateKeys, keyring.ShadowKeys,
			keyring.CreateRoles, keyring.ReadRoles, keyring.UpdateRoles, keyring.DeleteRoles,
			keyring.ReadUsage, keyring.ReadAudit, keyring.CreateExplain, keyring.ReadRoutes, keyring.ReadCache, keyring.ReadAdministrators),
		role(Support, "find keys, explain refusals, rotate and revoke",
			keyring.ReadKeys, keyring.RotateKeys, keyring.RevokeKeys, keyring.ReadRoles, keyring.ReadUsage, keyring.ReadAudit,
			keyring.CreateExplain, keyring.ReadRoutes, keyring.ReadCache),
		role(Auditor, "read everything, change nothing",
			keyring.ReadKeys, keyring.ReadRoles, keyring.ReadUsage, keyring.ReadAudit, keyring.ReadRoutes, keyring.ReadCache, keyring.ReadAdministrators),
		role(Issuer, "create and rotate keys, for programs", keyring.CreateKeys, keyring.ReadKeys, keyring.RotateKeys),
	}
}

// builtIn returns the built-in role of that name, or nil.
func builtIn(name string) *authz.AdministratorRole {
	roles := Roles()
	i := slices.IndexFunc(roles, func(r authz.AdministratorRole) bool { return r.Name == name })
	if i < 0 {
		return nil
	}
	return &roles[i]
}

// all returns all permissions, those of later releases included.
func all() authz.Scopes {
	return authz.Scopes{{Resource: authz.ReservedResource, Actions: []string{"*"}}}
}

// everything returns all scopes that may be granted.
func everything() authz.Scopes {
	return authz.Scopes{{Resource: "*", Actions: []string{"*"}}}
}

// set returns permissions as scopes. A test verifies that the constants are well-formed.
func set(permissions ...keyring.Permission) authz.Scopes {
	texts := make([]string, len(permissions))
	for i, p := range permissions {
		texts[i] = string(p)
	}
	scopes, _ := authz.ParseScopes(texts)
	return scopes
}

// known reports whether a scope is a permission, or covers at least one.
func known(scope authz.Scope) bool {
	for _, p := range keyring.Permissions() {
		want := set(p)[0]
		if (authz.Scopes{scope}).Allows(want.Resource, want.Actions[0]) {
			return true
		}
	}
	return false
}
