package keyring

import (
	"fmt"
	"slices"
	"strings"

	"extauthz/authz"
)

// Permission names an operation that a principal's management roles can allow. It has the
// text form of a scope on the reserved resource: resource ":" action.
type Permission string

// The permissions. The scope "extauthz/keys:*" holds all of that resource, "extauthz:*"
// holds all permissions.
const (
	CreateKeys Permission = "extauthz/keys:create"
	ReadKeys   Permission = "extauthz/keys:read"   // get and list
	UpdateKeys Permission = "extauthz/keys:update" // update, enable, disable
	RevokeKeys Permission = "extauthz/keys:revoke"
	RotateKeys Permission = "extauthz/keys:rotate" // answers with a new secret

	// ShadowKeys allows shadow mode to be set on a key; it is needed in addition to
	// UpdateKeys.
	ShadowKeys Permission = "extauthz/shadow:update"

	PurgeKeys  Permission = "extauthz/keys:purge"  // delete keys that ended long ago
	PurgeAudit Permission = "extauthz/audit:purge" // delete old audit entries; needed in addition to PurgeKeys

	CreateRoles Permission = "extauthz/roles:create"
	ReadRoles   Permission = "extauthz/roles:read"
	UpdateRoles Permission = "extauthz/roles:update"
	DeleteRoles Permission = "extauthz/roles:delete"

	ReadAdministrators   Permission = "extauthz/administrators:read" // and management roles
	CreateAdministrators Permission = "extauthz/administrators:create"
	UpdateAdministrators Permission = "extauthz/administrators:update" // enable and disable too
	RemoveAdministrators Permission = "extauthz/administrators:delete"
	RotateAdministrators Permission = "extauthz/administrators:rotate" // keys of others; answers with a new secret

	CreateAdministratorRoles Permission = "extauthz/administrator-roles:create"
	UpdateAdministratorRoles Permission = "extauthz/administrator-roles:update"
	DeleteAdministratorRoles Permission = "extauthz/administrator-roles:delete"

	ReadAudit Permission = "extauthz/audit:read" // changes and their actors
	ReadUsage Permission = "extauthz/usage:read" // counts and last use, in lists too

	// The following guard operations of other packages, which call
	// [Principal.Require] themselves.

	ReadCache       Permission = "extauthz/cache:read"       // figures, invalidations
	InvalidateCache Permission = "extauthz/cache:invalidate" // drop entries
	WarmCache       Permission = "extauthz/cache:warm"       // load the most used keys
	CreateExplain   Permission = "extauthz/explain:create"   // have a request judged, step by step
	ReadRoutes      Permission = "extauthz/routes:read"      // the loaded rules
)

// AllProjects in a principal's grants stands for every project, the empty one
// included.
const AllProjects = "*"

// Permissions returns all permissions, sorted.
func Permissions() []Permission {
	all := []Permission{
		CreateKeys, ReadKeys, UpdateKeys, RevokeKeys, RotateKeys, ShadowKeys, PurgeKeys, PurgeAudit,
		CreateRoles, ReadRoles, UpdateRoles, DeleteRoles,
		ReadAdministrators, CreateAdministrators, UpdateAdministrators, RemoveAdministrators, RotateAdministrators,
		CreateAdministratorRoles, UpdateAdministratorRoles, DeleteAdministratorRoles,
		ReadAudit, ReadUsage, ReadCache, InvalidateCache, WarmCache, CreateExplain, ReadRoutes,
	}
	slices.Sort(all)
	return all
}

// Principal is the caller: an administrator that was authenticated, or the system itself.
type Principal struct {
	AdministratorID string       // empty: a caller that is no stored administrator
	KeyID           string       // that authenticated it
	Name            string       // the administrator's, for the audit
	Permissions     authz.Scopes // of its management roles
	Grants          authz.Grants
	// System means the process itself, never a caller from outside. It may do everything.
	System    bool
	SystemAs  string // of a System principal: which part of the system it is, for the audit; empty: "system"
	Source    string // client address, for the audit
	RequestID string // for the audit
}

// Require returns ErrForbidden, naming the permission, unless the principal has it.
func (p Principal) Require(permission Permission) error {
	resource, action, _ := strings.Cut(string(permission), ":")
	if p.System || p.Permissions.Allows(resource, action) {
		return nil
	}
	return fmt.Errorf("%w: it needs an administrator with the permission %s", ErrForbidden, permission)
}

// Actor identifies the principal in audit rows and for idempotency. It is the same for
// all keys of an administrator.
func (p Principal) Actor() string {
	switch {
	case p.System && p.SystemAs != "":
		return p.SystemAs
	case p.System:
		return "system"
	case p.AdministratorID != "":
		return p.AdministratorID
	}
	return p.KeyID
}

// within reports whether keys of the project exist for the principal.
func (p Principal) within(project string) bool {
	return p.System || slices.Contains(p.Grants.Projects, AllProjects) ||
		project != "" && slices.Contains(p.Grants.Projects, project)
}

// everywhere reports whether keys of all projects exist for the principal.
func (p Principal) everywhere() bool { return p.within("") }

// sees reports whether the key exists for the principal; its own always does.
func (p Principal) sees(rec *authz.Record) bool { return p.is(rec) || p.within(rec.Project) }

// is reports whether the record is the principal's own key.
func (p Principal) is(rec *authz.Record) bool {
	return !p.System && p.KeyID != "" && p.KeyID == rec.ID
}

// coverScopes returns ErrForbidden, with the missing scopes, unless the principal
// may grant all the scopes.
func (p Principal) coverScopes(scopes authz.Scopes) error {
	if p.System || p.Grants.Scopes.Covers(scopes) {
		return nil
	}
	var missing authz.Scopes
	for _, scope := range scopes {
		if one := (authz.Scopes{scope}); !p.Grants.Scopes.Covers(one) {
			missing = append(missing, scope)
		}
	}
	return fmt.Errorf("%w: you may not grant %s", ErrForbidden, strings.Join(missing.Strings(), " "))
}

// coverKey returns ErrForbidden unless the principal may grant all that the key has.
// rights are the key's own scopes and those of its roles.
func (p Principal) coverKey(rec *authz.Record, rights authz.Scopes) error {
	if !p.within(rec.Project) {
		return fmt.Errorf("%w: you may not act in the project %q", ErrForbidden, rec.Project)
	}
	if err := p.coverScopes(rights); err != nil {
		return err
	}
	if !p.System && !p.Grants.NamesUser(rec.UserID) {
		return fmt.Errorf("%w: you may not act for the user %q, only for %s", ErrForbidden, rec.UserID, strings.Join(p.Grants.Users, " "))
	}
	return nil
}

// mayStop returns ErrForbidden unless the principal may take the key out of
// service.
func (p Principal) mayStop(rec *authz.Record) error {
	if !p.within(rec.Project) {
		return fmt.Errorf("%w: the key %s is of a project in which you may not act", ErrForbidden, rec.Prefix)
	}
	return nil
}
