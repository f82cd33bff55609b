package config

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"extauthz/authz"
	"extauthz/authz/openapi"
)

// openAPI returns the rules in the documents. Each is valid on its own.
func (v *validator) openAPI() (rules []authz.RouteConfig) {
	for i, path := range v.OpenAPI.Files {
		setting := fmt.Sprintf("openapi.files[%d]", i)
		document, err := os.ReadFile(path)
		if err != nil {
			v.add(setting, "%s can't be read: %v", path, reason(err))
			continue
		}
		read, notes, err := openapi.Read(document, openapi.Options{Name: path, Sources: v.CredentialSources(), AllowAnonymous: v.OpenAPI.AllowAnonymous})
		for _, r := range read {
			if _, e := authz.NewRouteTable([]authz.RouteConfig{r}); e != nil {
				err = errors.Join(err, e)
			}
		}
		if err != nil {
			for _, e := range flatten(err) {
				v.report(setting, "%s: %v", path, e)
			}
			continue
		}
		for _, note := range notes {
			v.warnings = append(v.warnings, fmt.Sprintf("%s: %s: %s: %s", v.origins.of(setting), setting, path, note))
		}
		rules = append(rules, read...)
	}
	return rules
}

func (v *validator) routes() {
	v.each("default_map.strip_prefixes", second(v.DefaultMap()))
	var err error
	if v.table, err = v.RouteTable(); err == nil {
		return
	}
	single := make([]bool, len(v.Routes)) // rules that are valid on their own
	var valid []authz.RouteConfig
	for i, r := range v.Routes {
		setting := fmt.Sprintf("routes[%d]", i)
		rc := r.config()
		if _, err := authz.NewRouteTable([]authz.RouteConfig{rc}); err != nil {
			v.each(setting, err)
			continue
		}
		single[i] = true
		valid = append(valid, rc)
	}
	_, err = authz.NewRouteTable(append(valid, v.described...))
	if err == nil {
		return
	}
	// The error of a conflict names two rules, the later one first.
	for _, e := range flatten(err) {
		setting := "routes"
		if slices.ContainsFunc(v.described, func(r authz.RouteConfig) bool {
			return strings.HasPrefix(e.Error(), fmt.Sprintf("routes %q ", r.Match))
		}) {
			setting = "openapi.files"
		}
		for i, r := range slices.Backward(v.Routes) {
			if single[i] && strings.HasPrefix(e.Error(), fmt.Sprintf("routes %q ", r.Match)) {
				setting = fmt.Sprintf("routes[%d]", i)
				break
			}
		}
		v.report(setting, "%v", e)
	}
}

// gatewayRoutes checks the requirements that are listed for routes of the gateway.
func (v *validator) gatewayRoutes() {
	seen := make(map[string]bool)
	for i, r := range v.RouteMetadata.Routes {
		setting := fmt.Sprintf("route_metadata.routes[%d]", i)
		if parts := strings.Split(r.Route, "/"); len(parts) != 3 || slices.Contains(parts, "") {
			v.add(setting+".route", "%q: write KIND/NAMESPACE/NAME, such as HTTPRoute/shop/orders", r.Route)
		}
		if seen[r.Route] {
			v.add(setting+".route", "%q is listed twice: remove one", r.Route)
		}
		seen[r.Route] = true
		v.each(setting, authz.NamedRoute{Resource: r.Resource, Action: r.Action, Anonymous: r.Anonymous}.Validate())
	}
}
