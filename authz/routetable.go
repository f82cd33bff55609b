package authz

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

const (
	maxCaptures      = 8
	maxCaptureLength = 1024 // bytes, decoded
)

// Captures holds the parts of one path that a pattern's wildcards matched. Its zero value
// is ready; it lives on the caller's stack.
type Captures struct {
	path   string
	values [maxCaptures]string
	starts [maxCaptures]int // of the values in the path
	n      int
}

// take adds a segment. rest is the end of the path from the slash before the segment on.
func (c *Captures) take(segment, rest string) {
	c.values[c.n], c.starts[c.n] = segment, len(c.path)-len(rest)+1
	c.n++
}

// RouteConfig is one configured rule.
type RouteConfig struct {
	Match     string // "[METHOD ][HOST]/[PATH]"
	Resource  string // such as "orders/{id}"
	Action    string // "": by method, see MethodAction
	Anonymous bool   // no key is required
	Project   string // that keys have to belong to; "": any project or none
	// AnyOf replaces Resource and Action: a key has to meet every need of one
	// alternative. Any valid key meets an alternative without needs; no key meets an
	// empty AnyOf (not nil).
	AnyOf  [][]Need
	Shadow bool // denials are only reported
	Until  time.Time
	// Encoded accepts parameters and encoded characters as data in the part of a path
	// that wildcards match. The upstream must do so too. The resource then can't hold
	// captured values.
	Encoded bool
	// Source is the document that the rule was read from; "" is the configuration. If
	// both have a rule for the same requests, that of the configuration counts.
	Source string
}

// Rule is a compiled rule. It is immutable.
type Rule struct {
	Pattern   string
	Resource  string
	Action    string
	Anonymous bool
	Project   string
	AnyOf     [][]Need
	Shadow    bool
	Until     time.Time
	Encoded   bool
	Source    string

	pattern  *pattern
	template resourceTemplate
	index    int // among the rules of its table
}

// Target returns the resource and action that the rule requires. In captured values "%"
// and characters that scopes can't have are percent-encoded. ok is false if the method
// implies no action, or a captured value is too long (maxCaptureLength), "." or "..", or
// no UTF-8. Target allocates if the resource holds captured values and is not a substring
// of the path.
func (r *Rule) Target(method string, c *Captures) (resource, action string, ok bool) {
	if action = r.Action; action == "" {
		if action = MethodAction(method); action == "" {
			return "", "", false
		}
	}
	captured, plain := 0, true // captured is in bytes; each value has at least one
	for _, part := range r.template {
		if part.capture < 0 {
			continue
		}
		v := c.values[part.capture]
		captured += len(v)
		plain = plain && validSegment(v) && strings.IndexByte(v, '%') < 0
		if len(v) > maxCaptureLength || isDots(v) || !utf8.ValidString(v) {
			return "", "", false
		}
	}
	if captured == 0 {
		return r.Resource, action, true
	}
	if plain {
		if resource, ok := r.template.within(c); ok {
			return resource, action, true
		}
	}
	var b strings.Builder
	b.Grow(len(r.Resource) + captured)
	for i, part := range r.template {
		if i > 0 {
			b.WriteByte('/')
		}
		if part.capture < 0 {
			b.WriteString(part.literal)
		} else {
			writeSegment(&b, c.values[part.capture])
		}
	}
	return b.String(), action, true
}

// meets reports whether the scopes meet one of the rule's alternatives. required is the
// first need of that alternative, or else the first missing need of the first
// alternative.
func (r *Rule) meets(scopes Scopes) (required Need, ok bool) {
	for i, needs := range r.AnyOf {
		missing := slices.IndexFunc(needs, func(n Need) bool { return !scopes.Allows(n.Resource, n.Action) })
		switch {
		case missing >= 0 && i == 0:
			required = needs[missing]
		case missing < 0 && len(needs) == 0:
			return Need{}, true
		case missing < 0:
			return needs[0], true
		}
	}
	return required, false
}

// Requires returns the rule's requirements, such as "orders:read and stock:read, or
// admin:read".
func (r *Rule) Requires() string {
	if r.Project != "" {
		return r.scopesText() + ", of the project " + r.Project
	}
	return r.scopesText()
}

func (r *Rule) scopesText() string {
	switch {
	case r.Anonymous:
		return "no key"
	case r.AnyOf == nil && r.Action == "":
		return r.Resource + ", action by method"
	case r.AnyOf == nil:
		return r.Resource + ":" + r.Action
	case len(r.AnyOf) == 0:
		return "what no key has"
	}
	alternatives := make([]string, len(r.AnyOf))
	for i, needs := range r.AnyOf {
		texts := make([]string, len(needs))
		for j, n := range needs {
			texts[j] = n.Resource + ":" + n.Action
		}
		if alternatives[i] = strings.Join(texts, " and "); len(needs) == 0 {
			alternatives[i] = "any valid key"
		}
	}
	return strings.Join(alternatives, ", or ")
}

// ValidProject reports whether p is the name of a project, or "" for none.
func ValidProject(p string) bool {
	for i := range len(p) {
		c := p[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '.' && c != '_' && c != '-' {
			return false
		}
	}
	return len(p) <= maxProject
}

const maxProject = 63 // bytes

// CatchAll reports whether the rule is for every path of its host.
func (r *Rule) CatchAll() bool { return r.pattern.catchAll() }

// captures reports whether the rule's resource holds values of the request.
func (r *Rule) captures() bool {
	for _, part := range r.template {
		if part.capture >= 0 {
			return true
		}
	}
	return false
}

// RouteTable finds the rule for a request: the most specific one wins, and a rule with a
// host wins over one without. It is immutable and safe for concurrent use.
type RouteTable struct {
	hosts map[string]*routeNode
	rules []*Rule
	ends  bool // there are rules whose last wildcard has a literal end
}

// NewRouteTable compiles the rules and reports every problem at once: syntax, a
// rule without a requirement, and rules that conflict.
func NewRouteTable(configs []RouteConfig) (*RouteTable, error) {
	t := &RouteTable{hosts: map[string]*routeNode{}}
	var problems []error
	for _, c := range configs {
		rule, err := newRule(c)
		if err != nil {
			problems = append(problems, err)
			continue
		}
		root := t.hosts[rule.pattern.host]
		if root == nil {
			root = &routeNode{}
			t.hosts[rule.pattern.host] = root
		}
		conflicts := false
		root.overlapping(rule.pattern.segments, func(other *Rule) {
			err := rule.pattern.conflict(other.pattern)
			switch {
			case err == nil:
			case rule.Source != "" && other.Source == "" && rule.pattern.same(other.pattern):
				conflicts = true
			default:
				problems = append(problems, err)
				conflicts = true
			}
		})
		if !conflicts {
			root.insert(rule.pattern.segments, rule)
			rule.index = len(t.rules)
			t.rules = append(t.rules, rule)
			t.ends = t.ends || rule.pattern.last().end != ""
		}
	}
	if len(problems) > 0 {
		return nil, errors.Join(problems...)
	}
	return t, nil
}

func newRule(c RouteConfig) (*Rule, error) {
	p, err := parsePattern(c.Match)
	if err != nil {
		return nil, err
	}
	r := &Rule{Pattern: c.Match, Resource: c.Resource, Action: c.Action, Anonymous: c.Anonymous,
		Project: c.Project, AnyOf: c.AnyOf, Shadow: c.Shadow, Until: c.Until, Encoded: c.Encoded, Source: c.Source, pattern: p}
	var problems []error
	add := func(err error) {
		if err == nil {
			return
		}
		problems = append(problems, fmt.Errorf("route %q: %w", c.Match, err))
	}
	switch {
	case c.AnyOf != nil:
		if c.Anonymous || c.Resource != "" || c.Action != "" {
			add(errors.New("alternatives exclude anonymous, resource and action: remove one"))
		}
		for _, need := range slices.Concat(c.AnyOf...) {
			if !validTarget(need.Resource, need.Action) || strings.ContainsAny(need.Resource, "{}") {
				add(fmt.Errorf("%q: write a resource and an action without wildcards, such as orders:read", need.Resource+":"+need.Action))
			}
		}
	case c.Anonymous && (c.Resource != "" || c.Action != ""):
		add(errors.New("anonymous and resource exclude one another: remove one"))
	case !c.Anonymous && c.Resource == "":
		add(errors.New("name a resource, or write anonymous: true"))
	case !c.Anonymous:
		if r.template, err = parseResource(c.Resource, p); err != nil {
			add(err)
		}
		if c.Action != "" && !validAction(c.Action) {
			add(fmt.Errorf("action %q: write lower-case letters, digits, \"_\", \".\" and \"-\", such as read", c.Action))
		}
	}
	if c.Encoded {
		add(r.encodedProblem())
	}
	switch {
	case c.Project != "" && c.Anonymous:
		add(errors.New("anonymous and project exclude one another, since a request without a key has no project: remove one"))
	case !ValidProject(c.Project):
		add(fmt.Errorf("project %.80q: write 1 to 63 letters, digits, \".\", \"_\" and \"-\", such as acme", c.Project))
	}
	if c.Shadow != !c.Until.IsZero() {
		add(errors.New("mode shadow and until go together: shadow mode needs its end date"))
	}
	return r, errors.Join(problems...)
}

// encodedProblem returns why encoded characters can't be data for the rule.
func (r *Rule) encodedProblem() error {
	switch {
	case !r.pattern.wildcard():
		return errors.New("encoded: allow is about what wildcards match, and the match has none: remove it")
	case r.captures():
		return fmt.Errorf("encoded: allow makes encoded characters data, which the resource %q would be made from: name a resource without wildcards, or remove encoded", r.Resource)
	}
	return nil
}

// Rules returns all rules in their configured order.
func (t *RouteTable) Rules() []*Rule { return append([]*Rule(nil), t.rules...) }

// Hosts returns the hosts that rules name, sorted. all reports whether every rule
// names one, so that requests for other hosts have no rule; false without rules.
func (t *RouteTable) Hosts() (hosts []string, all bool) {
	for host := range t.hosts {
		if host != "" {
			hosts = append(hosts, host)
		}
	}
	slices.Sort(hosts)
	return hosts, len(hosts) > 0 && t.hosts[""] == nil
}

// Opened returns the rules that need a key but lose requests to the given anonymous rule
// in a way that is easily overlooked: the anonymous rule is for one host, where it
// precedes rules for all hosts; or it has wildcards, and the other rule is no catch-all.
// They are in their configured order.
func (t *RouteTable) Opened(anonymous *Rule) (losing []*Rule) {
	a := anonymous.pattern
	look := func(r *Rule) {
		p := r.pattern
		switch relation := a.compareMethod(p).and(a.comparePath(p)); {
		case r.Anonymous, relation == disjoint:
		case relation == moreSpecific && (!a.wildcard() || p.catchAll()):
		case relation != moreSpecific && p.host == a.host: // it loses nothing to a
		default:
			losing = append(losing, r)
		}
	}
	t.hosts[a.host].overlapping(a.segments, look)
	if a.host != "" {
		t.hosts[""].overlapping(a.segments, look)
	}
	slices.SortFunc(losing, func(r, s *Rule) int { return r.index - s.index })
	return losing
}

// Match returns the rule for a canonical host and a path to match ([JudgedPath.Match]),
// or nil. It fills c and allocates nothing; its cost grows with the path, not with the
// number of rules.
func (t *RouteTable) Match(method, host, path string, c *Captures) *Rule {
	if path == "" || path[0] != '/' {
		return nil
	}
	c.path = path
	if host != "" {
		if root := t.hosts[host]; root != nil {
			c.n = 0
			if r := root.match(method, path, c); r != nil {
				return r
			}
		}
	}
	c.n = 0
	if root := t.hosts[""]; root != nil {
		return root.match(method, path, c)
	}
	return nil
}

// find is Match for callers that need no captures; t may be nil.
func (t *RouteTable) find(method, host, path string) *Rule {
	if t == nil {
		return nil
	}
	var c Captures
	return t.Match(method, host, path, &c)
}

// endsEncoded reports whether the path matches a rule by a literal end that was sent
// encoded. Servers that look for the end before they decode would find another route.
func (t *RouteTable) endsEncoded(method, host, path, raw string) bool {
	if t == nil || !t.ends {
		return false
	}
	rule := t.find(method, host, path)
	return rule != nil && !strings.HasSuffix(raw, rule.pattern.last().end)
}

// Matching returns every rule that matches, the one that wins first.
func (t *RouteTable) Matching(method, host, path string) []*Rule {
	var out []*Rule
	if path == "" || path[0] != '/' {
		return nil
	}
	if host != "" && t.hosts[host] != nil {
		out = t.hosts[host].matching(method, path, out)
	}
	if t.hosts[""] != nil {
		out = t.hosts[""].matching(method, path, out)
	}
	return out
}
