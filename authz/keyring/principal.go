package keyring

import (
	"fmt"
	"slices"
	"strings"

	"extauthz/authz"
)

// Permission names an operation that a principal's own scopes on the reserved resource
// can allow. It has the text form of a scope: resource ":" action.
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

// Principal is the caller: an administrator's key that was verified, or the
// system itself.
type Principal struct {
	KeyID  string
	Name   string       // of the key, for the audit
	Scopes authz.Scopes // the key's own and those of its roles
	Grants authz.Grants
	// System means the process itself, never a caller from outside. It may do everything.
	System    bool
	SystemAs  string // of a System principal: which part of the system it is, for the audit; empty: "system"
	Source    string // client address, for the audit
	RequestID string // for the audit
}

// Require returns ErrForbidden, naming the scope, unless the principal's own
// scopes hold the permission.
func (p Principal) Require(permission Permission) error {
	resource, action, _ := strings.Cut(string(permission), ":")
	if p.System || p.Scopes.Allows(resource, action) {
		return nil
	}
	return fmt.Errorf("%w: it needs a key with the scope %s", ErrForbidden, permission)
}

// actor is the principal's name in audit rows and idempotency.
func (p Principal) actor() string {
	switch {
	case p.System && p.SystemAs != "":
		return p.SystemAs
	case p.System:
		return "system"
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
	return fmt.Errorf("%w: your key may not grant %s", ErrForbidden, strings.Join(missing.Strings(), " "))
}

// coverKey returns ErrForbidden unless the principal may grant all that the key has.
// rights are the key's own scopes and those of its roles.
func (p Principal) coverKey(rec *authz.Record, rights authz.Scopes) error {
	if !p.within(rec.Project) {
		return fmt.Errorf("%w: your key may not act in the project %q", ErrForbidden, rec.Project)
	}
	if err := p.coverScopes(rights); err != nil {
		return err
	}
	if err := p.coverScopes(rec.Grants.Scopes); err != nil {
		return err
	}
	for _, project := range rec.Grants.Projects {
		if !p.within(project) {
			return fmt.Errorf("%w: your key may not grant the project %q", ErrForbidden, project)
		}
	}
	return p.coverUsers(rec)
}

// coverUsers returns ErrForbidden unless the principal may make keys for the record's
// user, and for all users that the record may make keys for. A record without grants
// can't make keys.
func (p Principal) coverUsers(rec *authz.Record) error {
	if p.System || len(p.Grants.Users) == 0 {
		return nil
	}
	if !p.Grants.NamesUser(rec.UserID) {
		return fmt.Errorf("%w: your key may not act for the user %q, only for %s", ErrForbidden, rec.UserID, strings.Join(p.Grants.Users, " "))
	}
	if len(rec.Grants.Users) == 0 && len(rec.Grants.Scopes)+len(rec.Grants.Projects) > 0 {
		return fmt.Errorf("%w: your key may not grant every user: name them in grants.users, within %s", ErrForbidden, strings.Join(p.Grants.Users, " "))
	}
	for _, pattern := range rec.Grants.Users {
		if !coversPattern(p.Grants.Users, pattern) {
			return fmt.Errorf("%w: your key may not grant the users %q, only %s", ErrForbidden, pattern, strings.Join(p.Grants.Users, " "))
		}
	}
	return nil
}

// coversPattern reports whether every id that the pattern matches is matched by
// one of the others.
func coversPattern(others []string, pattern string) bool {
	return slices.ContainsFunc(others, func(other string) bool {
		head, open := strings.CutSuffix(other, "*")
		return other == pattern || open && strings.HasPrefix(pattern, head)
	})
}

// mayStop returns ErrForbidden unless the principal may take the key out of
// service.
func (p Principal) mayStop(rec *authz.Record, rights authz.Scopes) error {
	if !p.within(rec.Project) {
		return fmt.Errorf("%w: the key %s is of a project that yours may not act in", ErrForbidden, rec.Prefix)
	}
	if err := p.coverScopes(reserved(rights)); err != nil {
		return fmt.Errorf("%w, which the key %s has", err, rec.Prefix)
	}
	return nil
}

// reserved returns the scopes on the reserved resource and below it.
func reserved(scopes authz.Scopes) authz.Scopes {
	var found authz.Scopes
	for _, scope := range scopes {
		if scope.Resource == authz.ReservedResource || strings.HasPrefix(scope.Resource, authz.ReservedResource+"/") {
			found = append(found, scope)
		}
	}
	return found
}
