package administrators

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"extauthz/authz"
	"extauthz/authz/keyring"
)

// Power is what an administrator may do, with which keys, from where and until when. The
// zero Power may do nothing, from everywhere and for ever.
type Power struct {
	Permissions authz.Scopes
	Grants      authz.Grants
	Networks    []netip.Prefix // none: every network
	Until       time.Time      // zero: no end
}

// owner is the Power that covers all others.
func owner() Power {
	return Power{Permissions: all(), Grants: authz.Grants{Scopes: everything(), Projects: []string{keyring.AllProjects}}}
}

// Lacks returns, in words, what q has and p does not have. It is empty if p covers q.
func (p Power) Lacks(q Power) string {
	if what := p.lacksRights(q); what != "" {
		return what
	}
	switch {
	case !coversNetworks(p.Networks, q.Networks):
		return "networks outside of yours"
	case !p.Until.IsZero() && (q.Until.IsZero() || q.Until.After(p.Until)):
		return "an end after yours, " + p.Until.UTC().Format(time.RFC3339)
	}
	return ""
}

// lacksRights is Lacks for permissions and grants only.
func (p Power) lacksRights(q Power) string {
	if missing := missingScopes(p.Permissions, q.Permissions); missing != "" {
		return "the permissions " + missing
	}
	if missing := missingScopes(p.Grants.Scopes, q.Grants.Scopes); missing != "" {
		return "grants of " + missing
	}
	for _, project := range q.Grants.Projects {
		if !slices.Contains(p.Grants.Projects, keyring.AllProjects) && !slices.Contains(p.Grants.Projects, project) {
			return fmt.Sprintf("the project %q", project)
		}
	}
	return p.lacksUsers(q)
}

// lacksUsers compares patterns of users. None stands for every user, unless there is
// nothing that could be granted to one.
func (p Power) lacksUsers(q Power) string {
	if len(p.Grants.Users) == 0 {
		return ""
	}
	if len(q.Grants.Users) == 0 && len(q.Grants.Scopes)+len(q.Grants.Projects) > 0 {
		return "every user"
	}
	for _, pattern := range q.Grants.Users {
		if !coversPattern(p.Grants.Users, pattern) {
			return fmt.Sprintf("the users %q", pattern)
		}
	}
	return ""
}

// missingScopes returns the scopes of want that have does not cover.
func missingScopes(have, want authz.Scopes) string {
	if have.Covers(want) {
		return ""
	}
	var missing []string
	for _, scope := range want {
		if one := (authz.Scopes{scope}); !have.Covers(one) {
			missing = append(missing, one.Strings()...)
		}
	}
	return strings.Join(missing, " ")
}

// coversPattern reports whether every id that the pattern matches is matched by
// one of the others.
func coversPattern(others []string, pattern string) bool {
	return slices.ContainsFunc(others, func(other string) bool {
		head, open := strings.CutSuffix(other, "*")
		return other == pattern || open && strings.HasPrefix(pattern, head)
	})
}

// coversNetworks reports whether each network of want is within one of have. It may be
// false if only several networks of have together cover one of want.
func coversNetworks(have, want []netip.Prefix) bool {
	if len(have) == 0 {
		return true
	}
	for _, w := range want {
		if !slices.ContainsFunc(have, func(h netip.Prefix) bool { return h.Bits() <= w.Bits() && h.Contains(w.Addr()) }) {
			return false
		}
	}
	return len(want) > 0
}

// permissions returns the permissions of the named roles. A role that is not built in
// precedes a built-in one of its name, so a release with another built-in role widens no
// administrator. A missing or unreadable role gives no permissions.
func permissions(names []string, own []authz.AdministratorRole) (p authz.Scopes) {
	for _, name := range names {
		if i := slices.IndexFunc(own, func(r authz.AdministratorRole) bool { return r.Name == name }); i >= 0 {
			if own[i].Unreadable == "" {
				p = p.Union(own[i].Permissions.Reserved())
			}
		} else if role := builtIn(name); role != nil {
			p = p.Union(role.Permissions)
		}
	}
	return p
}

// PowerOf returns an administrator's power, whether or not it is in service. An unreadable
// one has none.
func PowerOf(a *authz.Administrator, own []authz.AdministratorRole) Power {
	p := Power{Networks: a.Networks, Until: a.ExpiresAt}
	if a.Unreadable == "" {
		p.Permissions, p.Grants = permissions(a.Roles, own), a.Grants
	}
	return p
}
