package authz

import (
	"slices"
	"strings"
)

// Neighbour is a concrete request close to those of a rule, and the rule or default
// that decides it.
type Neighbour struct {
	Method   string
	Host     string       // "": any
	Path     string       // decoded
	Rule     *Rule        // that decides it; nil: the default route
	Default  DefaultRoute // that decides it; "": a rule
	Requires string       // such as "pay:delete", "any valid key" or "no key"
}

// Neighbours finds requests that are close to a rule but are let through by the default
// route or by a weaker rule. It is immutable and safe for concurrent use.
//
// A request is a neighbour of a rule if an upstream may serve the same thing for it, or
// if the rule's author may have assumed that it was covered: a slash more or less at the
// end, a longer path, another method, an added or removed prefix of the default mapping,
// another host. Route metadata and context extensions of the gateway are not known here,
// so their decisions are not considered.
type Neighbours struct {
	routes   *RouteTable
	fallback DefaultRoute
	mapping  *DefaultMap // nil: no prefixes
	chains   []chain     // each combination of prefixes in their order, such as "", "/api", "/api/v1"
	foreign  string      // a host that no rule names
	weakest  strength    // of the rules
}

// NewNeighbours examines the rules of a table together with the default route.
// mapping may be nil where the default route is not [DefaultRouteMap].
func NewNeighbours(routes *RouteTable, fallback DefaultRoute, mapping *DefaultMap) *Neighbours {
	n := &Neighbours{routes: routes, fallback: fallback, mapping: mapping, foreign: "any-other-host.example"}
	for routes.hosts[n.foreign] != nil {
		n.foreign = "x" + n.foreign
	}
	if mapping != nil {
		n.chains = mapping.chains()
	}
	n.weakest = requiresScope
	for _, r := range routes.rules {
		n.weakest = min(n.weakest, r.strength())
	}
	return n
}

// chain is one combination of prefixes.
type chain struct {
	text  string
	other bool // it has the second API version, which only matters if the rule's path has a version
}

// maxChained is how many prefixes are combined with one another: four make sixteen
// combinations, or some more with versions. Further prefixes are tried alone.
const maxChained = 4

// chains returns every combination of prefixes in their order, with two API versions in
// place of the placeholder.
func (m *DefaultMap) chains() []chain {
	chains := []chain{{}}
	for i, prefix := range m.strip {
		text := "/" + strings.Join(prefix, "/")
		before := chains
		if i >= maxChained {
			before = chains[:1]
		}
		for _, c := range slices.Clone(before) {
			chains = append(chains, chain{c.text + strings.ReplaceAll(text, VersionPlaceholder, "v1"), c.other})
			if strings.Contains(text, VersionPlaceholder) {
				chains = append(chains, chain{c.text + strings.ReplaceAll(text, VersionPlaceholder, "v2"), true})
			}
		}
	}
	return chains
}

// strength orders the requirements of rules.
type strength uint8

const (
	requiresNothing strength = iota // anonymous
	requiresAnyKey
	requiresScope // or more than any key has
)

func (r *Rule) strength() strength {
	switch {
	case r.Anonymous:
		return requiresNothing
	case slices.ContainsFunc(r.AnyOf, func(needs []Need) bool { return len(needs) == 0 }):
		return requiresAnyKey
	}
	return requiresScope
}

// ownMethods are tried for a rule that is for all of them.
var ownMethods = []string{"GET", "POST", "PUT", "DELETE"}

// otherMethods are tried for a rule with one method: those that imply an action, and
// one that implies none.
var otherMethods = []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}

// Of returns the neighbours of one of the table's rules that require less than the rule
// does: a scope of the default mapping (unless every key with that scope meets the rule),
// any valid key, or no key. If the rule's action is the one that its method implies,
// another method is assumed to change the action. There are a few dozen neighbours at
// most, in a stable order.
func (n *Neighbours) Of(r *Rule) (weaker []Neighbour) {
	if r.strength() == requiresNothing || n.fallback == DefaultRouteDeny && n.weakest >= r.strength() {
		return nil
	}
	own := ownMethods
	if r.pattern.method != "" {
		own = []string{r.pattern.method}
	}
	base := n.sample(r, own[0])
	add := func(methods []string, host, path string) {
		for _, method := range methods {
			if decided, ok := n.weaker(r, base, method, host, path); ok {
				if weaker == nil {
					weaker = make([]Neighbour, 0, 16)
				}
				weaker = append(weaker, decided)
				return
			}
		}
	}
	for _, path := range n.beside(base.path, r.pattern.multi()) {
		add(own, r.pattern.host, path)
	}
	if r.pattern.method != "" {
		for _, method := range otherMethods {
			add([]string{method}, r.pattern.host, base.path)
		}
	}
	if r.pattern.host != "" {
		add(own, n.foreign, base.path)
	}
	return weaker
}

// sample returns the captures of a path that the rule decides. If other rules decide all
// the paths that it tries, it returns those of the last one.
func (n *Neighbours) sample(r *Rule, method string) *Captures {
	c := &Captures{}
	for _, word := range []string{"1", "x", "any", "1"} {
		if n.routes.Match(method, r.pattern.host, r.pattern.sample(word), c) == r {
			break
		}
	}
	return c
}

// sample is a path of the pattern with the word in place of each wildcard.
func (p *pattern) sample(word string) string {
	var b strings.Builder
	for _, s := range p.segments {
		b.WriteByte('/')
		switch {
		case s.wild:
			b.WriteString(word + s.end)
		case s.text != "/":
			b.WriteString(s.text)
		}
	}
	return b.String()
}

// beside returns the neighbours of the path base. tail means that the last segment of
// base stands for the rest of a path. Then base without that segment and its slash is a
// neighbour too.
func (n *Neighbours) beside(base string, tail bool) []string {
	bare := strings.TrimSuffix(base, "/")
	paths := append(make([]string, 0, 4+2*len(n.chains)), bare, bare+"/", bare+"/1")
	if tail {
		paths = append(paths, bare[:strings.LastIndexByte(bare, '/')])
	}
	if n.mapping != nil {
		core := n.mapping.stripped(base[1:])
		versioned := slices.ContainsFunc(strings.Split(base[:len(base)-len(core)], "/"), isAPIVersion)
		for _, c := range n.chains {
			for _, path := range []string{c.text + "/" + core, c.text + base} {
				// Stripping may divide two joined prefixes in another way.
				if (versioned || !c.other) && n.mapping.stripped(path[1:]) == core {
					paths = append(paths, path)
				}
			}
		}
	}
	seen := paths[:0]
	for _, path := range paths {
		if path != "" && path != base && !slices.Contains(seen, path) {
			seen = append(seen, path)
		}
	}
	return seen
}

// weaker reports whether a request requires less than the rule does, and what decides it.
func (n *Neighbours) weaker(r *Rule, base *Captures, method, host, path string) (Neighbour, bool) {
	decided := Neighbour{Method: method, Host: host, Path: path}
	var c Captures
	if decided.Rule = n.routes.Match(method, host, path, &c); decided.Rule != nil {
		if decided.Rule.strength() >= r.strength() {
			return decided, false
		}
		decided.Requires = decided.Rule.Requires()
		return decided, true
	}
	if r.strength() == requiresAnyKey {
		return decided, false
	}
	switch decided.Default = n.fallback; n.fallback {
	case DefaultRouteAuthenticated:
		decided.Requires = "any valid key"
		return decided, true
	case DefaultRouteMap:
		resource, action, ok := n.mapping.Target(method, path)
		if !ok || r.covered(base, method, resource, action) {
			return decided, false
		}
		decided.Requires = resource + ":" + action
		return decided, true
	}
	return decided, false
}

// covered reports whether every key with a scope for resource and action would also meet
// the rule, if the rule were for the method.
func (r *Rule) covered(base *Captures, method, resource, action string) bool {
	alternatives := r.AnyOf
	if alternatives == nil {
		required, _, ok := r.Target("GET", base) // GET stands for any method that implies an action
		if !ok {
			return false
		}
		alternatives = [][]Need{{{Resource: required, Action: r.Action}}}
	}
	return slices.ContainsFunc(alternatives, func(needs []Need) bool {
		return !slices.ContainsFunc(needs, func(need Need) bool {
			want := need.Action
			if want == "" || want == MethodAction(r.pattern.method) {
				want = MethodAction(method)
			}
			below := strings.HasPrefix(need.Resource, resource+"/")
			return want != action || need.Resource != resource && !below
		})
	})
}
