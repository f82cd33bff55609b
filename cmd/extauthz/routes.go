package main

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"extauthz/authz"
	"extauthz/cmd/extauthz/internal/adminapi"
	"extauthz/cmd/extauthz/internal/config"
	"extauthz/cmd/extauthz/internal/printer"
)

func routesCommand(g *globals) *cobra.Command {
	return group("routes", "The configured rules (read from the configuration, no server needed)", routesList(g), routesMatch(g))
}

func routesList(g *globals) *cobra.Command {
	l := &listing[routeRow]{name: func(r *routeRow) string { return r.match }, columns: []printer.Column[routeRow]{
		{Name: "match", MinWidth: 28, Text: func(r *routeRow) string { return r.match }},
		{Name: "requires", MinWidth: 20, Text: func(r *routeRow) string { return r.requires }},
		{Name: "from", MinWidth: 12, Text: func(r *routeRow) string { return r.from }},
	}}
	return l.flags(&cobra.Command{
		Use: "list", Short: "List the rules, in their configured order", Args: noArguments,
		Example: "  extauthz routes list --config extauthz.yaml\n  extauthz routes list --sort from --limit 20",
		RunE: func(c *cobra.Command, _ []string) error {
			compare, err := l.order(c)
			if err != nil {
				return err
			}
			settings, err := g.load()
			if err != nil {
				return err
			}
			t, err := settings.RouteTable()
			if err != nil {
				return err
			}
			n, err := settings.Neighbours()
			if err != nil {
				return err
			}
			routes := []listedRoute{}
			for _, r := range t.Rules() {
				routes = append(routes, listedRoute{adminapi.RouteOf(r), neighboursOf(n, r)})
			}
			if compare != nil {
				slices.SortStableFunc(routes, func(a, b listedRoute) int { return compare(new(rowOf(a)), new(rowOf(b))) })
			}
			routes = head(routes, l.limit)
			return l.showAs(c, g, routes, g.routeRows(routes, settings.DefaultRoute))
		},
	})
}

// routeRow is a row of the table.
type routeRow struct{ match, requires, from string }

// rowOf returns the row of the rule itself.
func rowOf(r listedRoute) routeRow { return routeRow{r.Match, r.Requires, cmp.Or(r.Source, "routes")} }

// routeRows returns rows for the rules, their neighbours and the default route, but only
// those of the rules if -o name is given.
func (g *globals) routeRows(routes []listedRoute, byDefault string) (rows []routeRow) {
	for _, r := range routes {
		rows = append(rows, rowOf(r))
		if g.form == printer.Name {
			continue
		}
		for _, n := range r.Neighbours {
			rows = append(rows, routeRow{"  beside it: " + n.Method + " " + n.Host + n.Path, n.Requires, n.DecidedBy})
		}
	}
	if g.form != printer.Name {
		rows = append(rows, routeRow{"(no rule)", "default_route: " + byDefault, ""})
	}
	return rows
}

// listedRoute is a rule in `routes list`.
type listedRoute struct {
	adminapi.Route
	Neighbours []neighbour `json:"neighbours,omitempty"` // requests close to the rule that require less
}

type neighbour struct {
	Method    string `json:"method"`
	Host      string `json:"host,omitempty"`
	Path      string `json:"path"`
	Requires  string `json:"requires"`
	DecidedBy string `json:"decided_by"`
}

func neighboursOf(n *authz.Neighbours, r *authz.Rule) (out []neighbour) {
	for _, b := range n.Of(r) {
		out = append(out, neighbour{b.Method, b.Host, config.NeighbourPath(b), b.Requires, config.NeighbourDecidedBy(b)})
	}
	return out
}

// match is the output of `routes match`.
type match struct {
	Path     string           `json:"path"`
	Host     string           `json:"host"`
	Outcome  string           `json:"outcome"`
	Resource string           `json:"resource,omitempty"`
	Action   string           `json:"action,omitempty"`
	Rules    []adminapi.Route `json:"rules"` // all rules that match, the winner first
}

func routesMatch(g *globals) *cobra.Command {
	return &cobra.Command{
		Use: "match METHOD URL", Short: "Print the rule that applies to a request, and why", Args: exactly(2),
		Example: "  extauthz routes match GET https://api.example.com/v1/orders/42",
		RunE: func(c *cobra.Command, args []string) error {
			settings, err := g.load()
			if err != nil {
				return err
			}
			m, err := matchRoute(settings, args[0], args[1])
			if err != nil {
				return err
			}
			return g.show(c, m, func(w *tabwriter.Writer) {
				row(w, "outcome", m.Outcome)
				row(w, "requires", requiredScope(m))
				row(w, "judged path", m.Path)
				row(w, "judged host", m.Host)
				for i, r := range m.Rules {
					why := "also matches, less specific"
					if i == 0 {
						why = "wins: the most specific"
					}
					row(w, "rule", r.Match, why)
				}
			})
		},
	}
}

func requiredScope(m match) string {
	if m.Resource == "" {
		return ""
	}
	return m.Resource + ":" + m.Action
}

func matchRoute(settings *config.Config, method, target string) (match, error) {
	r, err := adminapi.RequestOf(adminapi.ExplainRequest{Method: method, URL: target}, nil)
	if err != nil {
		return match{}, err
	}
	t, err := settings.RouteTable()
	if err != nil {
		return match{}, err
	}
	defaults, err := settings.DefaultMap()
	if err != nil {
		return match{}, err
	}
	host, ok := authz.CanonicalHost(r.Host)
	if !ok {
		return match{}, fmt.Errorf("the host %q is refused: it is no plain host name", r.Host)
	}
	rules := authz.Config{Routes: t, DefaultRoute: authz.DefaultRoute(settings.DefaultRoute), DefaultMap: defaults, Paths: settings.PathPolicy()}
	path, fault := rules.Paths.Judge(t, method, host, r.Path, false)
	if fault != authz.PathPlain {
		return match{}, errors.New("the path is refused: " + fault.Detail())
	}
	m := match{Path: path.Path, Host: host, Rules: []adminapi.Route{}}
	for _, rule := range t.Matching(method, host, path.Match) {
		m.Rules = append(m.Rules, adminapi.RouteOf(rule))
	}
	access, d := rules.Access(method, host, path.Match)
	m.Resource, m.Action, m.Outcome = d.Resource, d.Action, outcomeOf(access, d.Rule, rules.DefaultRoute)
	return m, nil
}

// outcomeOf describes what a request needs.
func outcomeOf(access authz.Access, rule *authz.Rule, byDefault authz.DefaultRoute) string {
	switch {
	case access == authz.AccessAnonymous:
		return "no key is needed"
	case access == authz.AccessAuthenticated:
		return "no rule matches: any valid key will do"
	case rule != nil && rule.AnyOf != nil:
		return "a key is needed for " + rule.Requires()
	case rule != nil && access == authz.AccessDenied:
		return "denied: the rule can't name a resource and an action for this request"
	case rule != nil && rule.Project != "":
		return "a key with the scope is needed, of the project " + rule.Project
	case rule != nil:
		return "a key with the scope is needed"
	case access == authz.AccessScoped:
		return "no rule matches: the default mapping requires a scope"
	case byDefault == authz.DefaultRouteMap:
		return "denied: no rule matches and the default mapping names nothing"
	default:
		return "denied: no rule matches"
	}
}
