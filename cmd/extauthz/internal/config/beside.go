package config

import (
	"fmt"
	"net/url"
	"slices"
	"strings"

	"extauthz/authz"
)

// maxBesideWarnings is the number of rules whose neighbours are each warned about.
const maxBesideWarnings = 20

// Neighbours returns the search for requests that are close to a rule but decided by
// something weaker.
func (c *Config) Neighbours() (*authz.Neighbours, error) {
	routes, err := c.RouteTable()
	if err != nil {
		return nil, err
	}
	mapping, err := c.DefaultMap()
	if err != nil {
		return nil, err
	}
	return authz.NewNeighbours(routes, authz.DefaultRoute(c.DefaultRoute), mapping), nil
}

// besideRules warns about each rule that has such neighbours, in the order of the rules.
// It takes less than a second for ten thousand rules.
func (c *Config) besideRules(add func(setting, format string, args ...any)) {
	n, err := c.Neighbours()
	if err != nil {
		return // the rules are faulty, which was reported
	}
	rest := 0
	named := 0
	for _, r := range c.table.Rules() {
		weaker := n.Of(r)
		switch {
		case len(weaker) == 0:
		case named == maxBesideWarnings:
			rest++
		default:
			named++
			add(c.settingOf(r), "beside %s, which requires %s, less is required: %s: %s", r.Pattern, r.Requires(), DescribeNeighbours(weaker), besideRemedy(weaker))
		}
	}
	if rest > 0 {
		add("routes", "%d more rules have requests beside them for which less is required: extauthz routes list names all", rest)
	}
}

func besideRemedy(weaker []authz.Neighbour) string {
	if slices.ContainsFunc(weaker, func(n authz.Neighbour) bool { return n.Rule == nil }) {
		return "write default_route: deny, or a rule for each that the upstream serves"
	}
	return "write a rule for each that the upstream serves"
}

// DescribeNeighbours lists the requests, grouped by what decides them.
func DescribeNeighbours(neighbours []authz.Neighbour) string {
	var order []string
	groups := map[string][]string{}
	for _, n := range neighbours {
		decided := n.Requires + " by " + NeighbourDecidedBy(n)
		if groups[decided] == nil {
			order = append(order, decided)
		}
		groups[decided] = append(groups[decided], n.Method+" "+n.Host+NeighbourPath(n))
	}
	for i, decided := range order {
		order[i] = strings.Join(groups[decided], ", ") + " (" + decided + ")"
	}
	return strings.Join(order, "; ")
}

// NeighbourDecidedBy names what decides a neighbouring request.
func NeighbourDecidedBy(n authz.Neighbour) string {
	if n.Rule != nil {
		return fmt.Sprintf("rule %q", n.Rule.Pattern)
	}
	return "default_route: " + string(n.Default)
}

// NeighbourPath returns the path as a client would send it.
func NeighbourPath(n authz.Neighbour) string {
	return (&url.URL{Path: n.Path}).EscapedPath()
}

// Changes returns, one a line, what this version decides differently from the version
// before under an unchanged configuration, with the setting that restores the former
// behaviour.
func (c *Config) Changes() (changes []string) {
	add := func(setting, why string) {
		origin := c.origins.of(setting)
		changes = append(changes, origin+": "+why)
	}
	if c.defaulted && c.hasRules() {
		rules := "routes"
		for _, other := range []string{"openapi.files", "route_metadata"} {
			if len(c.Routes) == 0 && c.origins[other] != "" {
				rules = other
			}
		}
		add(rules, "default_route is not set beside rules and is now deny: requests that no rule matches are refused (route_denied); before this version they were mapped. "+
			"Write default_route: deny to confirm it, or default_route: map to keep the mapping; config check then names the requests beside rules for which less is required")
	}
	if _, set := c.origins["default_map.strip_prefixes"]; !set && c.DefaultRoute == string(authz.DefaultRouteMap) {
		add("default_map.strip_prefixes", "the default mapping strips /api and API versions (/v1, /v2beta1) only, and nothing from gRPC calls; before this version it stripped every first segment that begins with v: "+
			"requests such as GET /vaults/... now require a scope of vaults")
	}
	return changes
}
