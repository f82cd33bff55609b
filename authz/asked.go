package authz

import "strings"

// target says what a route asks of the key.
type target uint8

const (
	targetDenied        target = iota // no key will do
	targetScoped                      // a scope for Decision.Resource and Action
	targetAuthenticated               // any valid key
	targetAnonymous                   // no key
)

// route finds what is asked for. Order of authority: a rule, then the gateway's
// context extensions, then its route metadata, then the default.
func (a *Authorizer) route(r *Request, host, path string, d *Decision, t *trace) target {
	var captures Captures
	if rule := a.matchRule(r.Method, host, path, &captures); rule != nil {
		d.Rule = rule
		if rule.Anonymous {
			t.add("route", "anonymous", rule.Pattern)
			return targetAnonymous
		}
		if rule.AnyOf != nil {
			if t != nil {
				t.add("route", "rule", rule.Pattern+" asks for "+rule.Asks())
			}
			if len(rule.AnyOf) == 0 {
				return targetDenied
			}
			return targetScoped
		}
		var ok bool
		if d.Resource, d.Action, ok = rule.Target(r.Method, &captures); !ok {
			if t != nil {
				t.add("route", "denied", "rule "+rule.Pattern+" can't name a resource and an action for this request")
			}
			return targetDenied
		}
		d.Captured = rule.captures()
		if t != nil {
			t.add("route", "rule", rule.Pattern+" asks for "+d.Resource+":"+d.Action)
		}
		return targetScoped
	}
	if a.UseContextExtensions && r.ContextResource != "" {
		return a.named(r, "context extensions", r.ContextResource, r.ContextAction, d, t)
	}
	if named, ok := a.RouteMetadata.of(&r.Route); ok {
		if named.Anonymous {
			t.add("route", "anonymous", "the gateway's route metadata")
			return targetAnonymous
		}
		return a.named(r, "route metadata", named.Resource, named.Action, d, t)
	}
	switch a.DefaultRoute {
	case DefaultRouteAuthenticated:
		t.add("route", "default", "any valid key")
		return targetAuthenticated
	case DefaultRouteMap:
		var ok bool
		if d.Resource, d.Action, ok = a.DefaultMap.Target(r.Method, path); ok {
			t.target("route", "default", d)
			return targetScoped
		}
	}
	if a.DefaultRoute == DefaultRouteDeny {
		t.add("route", "denied", "no rule matches and default_route is deny")
	} else {
		t.add("route", "denied", "no rule matches and the default maps nothing")
	}
	return targetDenied
}

// named takes resource and action as the gateway's configuration names them; an
// empty action is by method.
func (a *Authorizer) named(r *Request, by, resource, action string, d *Decision, t *trace) target {
	if action == "" {
		action = MethodAction(r.Method)
	}
	if !validTarget(resource, action) {
		if isReserved(resource) { // kept, so that no shadow mode of a key softens it
			d.Resource, d.Action = resource, action
		}
		if t != nil {
			t.add("route", "denied", "the gateway's "+by+" name no valid resource and action")
		}
		return targetDenied
	}
	d.Resource, d.Action = resource, action
	t.target("route", by, d)
	return targetScoped
}

func (a *Authorizer) matchRule(method, host, path string, c *Captures) *Rule {
	if a.Routes == nil {
		return nil
	}
	return a.Routes.Match(method, host, path, c)
}

// validTarget holds what a gateway's configuration names to the grammar of
// scopes, and keeps it off the management's own resource.
func validTarget(resource, action string) bool {
	if isReserved(resource) || strings.Contains(resource, "*") || strings.Contains(action, "*") {
		return false
	}
	return validResource(resource) && validAction(action)
}

func isReserved(resource string) bool {
	return resource == ReservedResource || strings.HasPrefix(resource, ReservedResource+"/")
}
