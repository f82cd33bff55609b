package authz

import "strings"

// Access is what the route of a request requires before the request is allowed.
type Access uint8

// The kinds of access.
const (
	AccessDenied        Access = iota // no key suffices
	AccessScoped                      // a key with a scope for Decision.Resource and Action
	AccessAuthenticated               // any valid key
	AccessAnonymous                   // no key
)

// Access returns what a request needs, given its method, a canonical host and a path to
// match ([JudgedPath.Match]). The Decision holds rule, resource and action. Access
// considers neither a key nor the gateway's own configuration. It is for commands that
// show the rules.
func (c *Config) Access(method, host, path string) (Access, Decision) {
	var d Decision
	access := c.access(&Request{Method: method}, host, path, &d, nil)
	return access, d
}

// access is the only place that defines the order of precedence: a rule, then the
// gateway's context extensions, then its route metadata, then the default.
func (c *Config) access(r *Request, host, path string, d *Decision, t *trace) Access {
	var captures Captures
	if d.Rule = c.matchRule(r.Method, host, path, &captures); d.Rule != nil {
		return d.Rule.access(r.Method, &captures, d, t)
	}
	if c.UseContextExtensions && r.ContextResource != "" {
		return gatewayAccess(r.Method, "context extensions", r.ContextResource, r.ContextAction, d, t)
	}
	if route, ok := c.RouteMetadata.of(&r.Route); ok {
		if route.Anonymous {
			t.add("route", "anonymous", "the gateway's route metadata")
			return AccessAnonymous
		}
		return gatewayAccess(r.Method, "route metadata", route.Resource, route.Action, d, t)
	}
	return c.defaultAccess(r.Method, path, d, t)
}

// access returns what the rule requires of a request that it matches.
func (r *Rule) access(method string, captures *Captures, d *Decision, t *trace) Access {
	if r.Anonymous {
		t.add("route", "anonymous", r.Pattern)
		return AccessAnonymous
	}
	if r.AnyOf != nil {
		if t != nil {
			t.add("route", "rule", r.Pattern+" requires "+r.Requires())
		}
		if len(r.AnyOf) == 0 {
			return AccessDenied
		}
		return AccessScoped
	}
	var ok bool
	if d.Resource, d.Action, ok = r.Target(method, captures); !ok {
		if t != nil {
			t.add("route", "denied", "rule "+r.Pattern+" can't name a resource and an action for this request")
		}
		return AccessDenied
	}
	d.Captured = r.captures()
	if t != nil {
		t.add("route", "rule", r.Pattern+" requires "+d.Resource+":"+d.Action)
	}
	return AccessScoped
}

// defaultAccess returns what a request needs if neither a rule nor the gateway decides
// it.
func (c *Config) defaultAccess(method, path string, d *Decision, t *trace) Access {
	switch c.DefaultRoute {
	case DefaultRouteAuthenticated:
		t.add("route", "default", "any valid key")
		return AccessAuthenticated
	case DefaultRouteMap:
		var ok bool
		if d.Resource, d.Action, ok = c.DefaultMap.Target(method, path); ok {
			t.target("route", "default", d)
			return AccessScoped
		}
	}
	if c.DefaultRoute == DefaultRouteDeny {
		t.add("route", "denied", "no rule matches and default_route is deny")
	} else {
		t.add("route", "denied", "no rule matches and the default maps nothing")
	}
	return AccessDenied
}

// gatewayAccess returns the access for a resource and an action that the gateway's
// configuration names. An empty action stands for the one that the method implies.
func gatewayAccess(method, by, resource, action string, d *Decision, t *trace) Access {
	if action == "" {
		action = MethodAction(method)
	}
	if !validTarget(resource, action) {
		if isReserved(resource) { // set, so that no shadow mode of a key softens the denial
			d.Resource, d.Action = resource, action
		}
		if t != nil {
			t.add("route", "denied", "the gateway's "+by+" name no valid resource and action")
		}
		return AccessDenied
	}
	d.Resource, d.Action = resource, action
	t.target("route", by, d)
	return AccessScoped
}

func (c *Config) matchRule(method, host, path string, captures *Captures) *Rule {
	if c.Routes == nil {
		return nil
	}
	return c.Routes.Match(method, host, path, captures)
}

// validTarget checks the resource and action that a gateway's configuration names
// against the grammar of scopes, and refuses the management API's own resource.
func validTarget(resource, action string) bool {
	if isReserved(resource) || strings.Contains(resource, "*") || strings.Contains(action, "*") {
		return false
	}
	return validResource(resource) && validAction(action)
}

func isReserved(resource string) bool {
	return resource == ReservedResource || strings.HasPrefix(resource, ReservedResource+"/")
}
