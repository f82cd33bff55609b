package administrators

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/google/uuid"

	"extauthz/authz"
	"extauthz/authz/keyring"
)

// NameForm is the form of an administrator's name: it is used in commands and paths, and an
// e-mail address is one. Capitals are left out, so that no two names look alike but for
// their case.
const NameForm = `^[a-z0-9][a-z0-9._@+-]{0,99}$`

const (
	// MaxRoles is how many management roles an administrator may have.
	MaxRoles = 32
	// MaxAdministrators bounds what a change of one has to read.
	MaxAdministrators = 10_000
	// MaxOwnRoles bounds it too: it is how many management roles there may be that are not
	// built in.
	MaxOwnRoles = 1_000
)

var (
	nameForm = regexp.MustCompile(NameForm)
	roleForm = regexp.MustCompile(keyring.RoleNameForm)
)

// nameTaken is authz.ErrConflict that another key would not help against.
type nameTaken struct{ what string }

func (e nameTaken) Error() string { return e.what }

// Unwrap makes errors.Is(err, authz.ErrConflict) true.
func (e nameTaken) Unwrap() error { return authz.ErrConflict }

// validate brings an administrator into the form to store, or reports everything that is
// wrong with it. newEnd: the end is from this request, so it has to be in the future.
func (s *Service) validate(d *draft, x *authz.Administrator, newEnd bool) error {
	v := &keyring.Problems{Format: s.format}
	v.NoKey("name", x.Name)
	if !nameForm.MatchString(x.Name) || uuid.Validate(x.Name) == nil {
		v.Add("name", "must have 1 to 100 lower-case letters, digits, '.', '_', '@', '+' and '-', a letter or digit first, and be no UUID")
	}
	v.Text("description", x.Description, keyring.MaxDescription)
	x.Roles = slices.Compact(slices.Sorted(slices.Values(x.Roles)))
	switch {
	case len(x.Roles) == 0:
		v.Add("roles", "must name at least one management role: %s, or an own one", strings.Join(builtInNames(), ", "))
	case len(x.Roles) > MaxRoles:
		v.Add("roles", "must be at most %d", MaxRoles)
	}
	for _, name := range x.Roles {
		if builtIn(name) == nil && !slices.ContainsFunc(d.before.Roles, func(r authz.AdministratorRole) bool { return r.Name == name }) {
			v.Add("roles", "has %.80q, which does not exist: there are %s, and own ones", name, strings.Join(builtInNames(), ", "))
		}
	}
	x.Grants = v.Grants(x.Grants)
	x.Networks = v.CIDRs(x.Networks)
	if newEnd {
		x.ExpiresAt = v.Expiry(x.ExpiresAt, d.now)
	}
	if err := v.Err(); err != nil {
		return err
	}
	for i := range d.before.Administrators {
		if other := &d.before.Administrators[i]; other.Name == x.Name && other.ID != x.ID && !slices.Contains(d.change.Delete, other.ID) {
			return nameTaken{fmt.Sprintf("administrator %s: %v", x.Name, authz.ErrConflict)}
		}
	}
	return nil
}

func builtInNames() (names []string) {
	for _, r := range Roles() {
		names = append(names, r.Name)
	}
	return names
}

// validateRole brings a management role into the form to store.
func (s *Service) validateRole(r *authz.AdministratorRole) error {
	v := &keyring.Problems{Format: s.format}
	v.NoKey("name", r.Name)
	switch {
	case !roleForm.MatchString(r.Name):
		v.Add("name", "must have 1 to 63 letters, digits, '.', '_' and '-', a letter or digit first")
	case builtIn(r.Name) != nil:
		v.Add("name", "is that of a built-in role: take another one")
	}
	v.Text("description", r.Description, keyring.MaxDescription)
	permissions, err := authz.NewScopes(r.Permissions)
	if err != nil {
		v.Add("permissions", "%s", strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	if len(permissions) == 0 && err == nil {
		v.Add("permissions", "must name at least one, such as %s", keyring.ReadKeys)
	}
	for _, scope := range permissions {
		for _, action := range scope.Actions {
			one := authz.Scope{Resource: scope.Resource, Actions: []string{action}}
			if !known(one) {
				v.Add("permissions", "has %.80q, which is no permission and stands for none", one.Resource+":"+action)
			}
		}
	}
	r.Permissions = permissions
	return v.Err()
}
