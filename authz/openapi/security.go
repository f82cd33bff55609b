package openapi

import (
	"maps"
	"net/http"
	"slices"
	"strings"

	"extauthz/authz"
)

// securityRule turns an operation's security requirements into a rule without a match. A
// key has to meet one requirement of the list: all of its schemes, and all scopes of each
// scheme. It returns false if a problem was reported.
func (r *reader) securityRule(name string, operation object) (authz.RouteConfig, bool) {
	rule := authz.RouteConfig{Source: r.Name, AnyOf: [][]authz.Need{}}
	said := operation["security"]
	if said == nil {
		said = r.root["security"]
	}
	if said == nil {
		r.unspecified = append(r.unspecified, name)
		return rule, true
	}
	requirements, isList := said.([]any)
	if !isList {
		r.problem("%s: security has to be a list", name)
		return rule, false
	}
	if len(requirements) == 0 {
		r.open = append(r.open, name)
		if r.AllowAnonymous {
			rule.Anonymous, rule.AnyOf = true, nil
		}
		return rule, true
	}
	good := true
	for _, value := range requirements {
		requirement, isObject := objectOf(value)
		if !isObject || requirement == nil {
			r.problem("%s: each member of security has to be a mapping", name)
			good = false
			continue
		}
		if len(requirement) == 0 {
			r.optional = append(r.optional, name)
			continue
		}
		needs, met, ok := r.needs(name, requirement)
		if good = good && ok; ok && met {
			rule.AnyOf = append(rule.AnyOf, needs)
		}
	}
	if good && len(rule.AnyOf) == 0 {
		r.unmet = append(r.unmet, name)
	}
	if len(rule.AnyOf) == 1 && len(rule.AnyOf[0]) == 1 {
		rule.Resource, rule.Action, rule.AnyOf = rule.AnyOf[0][0].Resource, rule.AnyOf[0][0].Action, nil
	}
	return rule, good
}

// needs returns what one requirement needs of a key. met is false if it has a scheme that
// no API key meets; ok is false if a problem was reported.
func (r *reader) needs(name string, requirement object) (needs []authz.Need, met, ok bool) {
	met, ok = true, true
	for _, scheme := range slices.Sorted(maps.Keys(requirement)) {
		reads, there := r.schemes[scheme]
		if !there {
			r.problem("%s names the security scheme %q, which components.securitySchemes lacks", name, scheme)
			ok = false
			continue
		}
		scopeTexts, isTexts := texts(requirement[scheme])
		if !isTexts {
			r.problem("%s: the scopes of %s have to be a list of texts, [] for none", name, scheme)
			ok = false
			continue
		}
		if !reads {
			met = false
			continue
		}
		scopes, err := authz.ParseScopes(scopeTexts)
		if err != nil {
			r.problem("%s: %w", name, err)
			ok = false
			continue
		}
		for _, scope := range scopes {
			for _, action := range scope.Actions {
				needs = append(needs, authz.Need{Resource: scope.Resource, Action: action})
			}
		}
	}
	return slices.Compact(needs), met, ok
}

func texts(value any) ([]string, bool) {
	list, ok := value.([]any)
	if !ok {
		return nil, false
	}
	said := make([]string, len(list))
	for i := range list {
		if said[i], ok = list[i].(string); !ok {
			return nil, false
		}
	}
	return said, true
}

// reads reports whether keys are read from where the security scheme looks. HTTP's own
// schemes (basic, bearer and others) use the header authorization. OAuth 2 and OpenID
// Connect send bearer tokens there too (RFC 6750, 2.1). If keys are read from there, the
// scopes of such a scheme are those of keys.
func (r *reader) reads(where string, value any) bool {
	scheme, _ := r.follow(where, value)
	place, name := authz.SourceHeader, "authorization"
	of := "bearer" // scheme of the header; "": any
	switch r.text(where+": type", scheme["type"]) {
	case "apiKey":
		of = ""
		name = r.text(where+": name", scheme["name"])
		switch r.text(where+": in", scheme["in"]) {
		case "header":
		case "query":
			place = authz.SourceQuery
		case "cookie":
			place = authz.SourceCookie
		default:
			return false
		}
	case "http":
		if of = r.text(where+": scheme", scheme["scheme"]); of == "" {
			return false
		}
	case "oauth2", "openIdConnect":
	default:
		return false
	}
	return slices.ContainsFunc(r.Sources, func(s authz.CredentialSource) bool {
		switch {
		case s.Kind != place:
			return false
		case place == authz.SourceHeader:
			return http.CanonicalHeaderKey(s.Name) == http.CanonicalHeaderKey(name) && (of == "" || strings.EqualFold(s.Scheme, of))
		default:
			return s.Name == name
		}
	})
}
