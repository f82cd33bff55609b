package authz

import (
	"errors"
	"fmt"
	"slices"
)

// RouteMetadata defines how far the gateway's route metadata is trusted. Under Envoy
// Gateway tenants write the annotations, so annotations never weaken a rule. They make a
// route anonymous only if the platform allows it in general and names the route's
// namespace. Settings of the platform for a named route take precedence over annotations.
type RouteMetadata struct {
	Enabled        bool
	AllowAnonymous bool                  // by annotations; needs Namespaces
	Namespaces     []string              // whose annotations count; none: all
	Routes         map[string]NamedRoute // by "kind/namespace/name"
}

// NamedRoute is what a route of the gateway requires.
type NamedRoute struct {
	Resource, Action string
	Anonymous        bool
}

// Validate returns the first problem of the route, or nil.
func (n NamedRoute) Validate() error {
	switch {
	case n.Anonymous && n.Resource+n.Action != "":
		return errors.New("anonymous goes without resource and action: no key is required")
	case n.Anonymous:
		return nil
	case n.Resource == "":
		return errors.New("resource is missing: name one, or write anonymous: true")
	}
	action := n.Action
	if action == "" {
		action = "read" // any valid one
	}
	if !validTarget(n.Resource, action) {
		return fmt.Errorf("%q: write a resource and an action without \"*\", such as orders and read, and not %q", n.Resource+":"+n.Action, ReservedResource)
	}
	return nil
}

// of returns what the request's route requires; false if nothing defines it.
func (m *RouteMetadata) of(r *GatewayRoute) (NamedRoute, bool) {
	if !m.Enabled || r.Name == "" {
		return NamedRoute{}, false
	}
	if len(m.Routes) > 0 {
		if n, ok := m.Routes[r.Kind+"/"+r.Namespace+"/"+r.Name]; ok {
			return n, true
		}
	}
	if len(m.Namespaces) > 0 && !slices.Contains(m.Namespaces, r.Namespace) {
		return NamedRoute{}, false
	}
	n := NamedRoute{Resource: r.Resource, Action: r.Action,
		Anonymous: r.Anonymous && m.AllowAnonymous && slices.Contains(m.Namespaces, r.Namespace)}
	return n, n.Anonymous || n.Resource != ""
}
