package authz

import (
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

const (
	maxCaptures      = 8
	maxCaptureLength = 200 // bytes
)

// Captures holds what a pattern's wildcards took from one path. Its zero value
// is ready; it lives on the caller's stack.
type Captures struct {
	values [maxCaptures]string
	n      int
}

// RouteConfig is one configured rule.
type RouteConfig struct {
	Match     string // "[METHOD ][HOST]/[PATH]"
	Resource  string // such as "orders/{id}"; needed unless Anonymous
	Action    string // "": by method, see MethodAction
	Anonymous bool   // no key is asked for
	Shadow    bool   // denials are only reported
	Until     time.Time
}

// Rule is a compiled rule. It is immutable.
type Rule struct {
	Pattern   string
	Resource  string
	Action    string
	Anonymous bool
	Shadow    bool
	Until     time.Time

	pattern  *pattern
	template resourceTemplate
}

// Target returns resource and action that the rule asks for. ok is false where
// the method stands for no action, or a captured value is no plain segment.
func (r *Rule) Target(method string, c *Captures) (resource, action string, ok bool) {
	if action = r.Action; action == "" {
		if action = MethodAction(method); action == "" {
			return "", "", false
		}
	}
	captured := false
	for _, part := range r.template {
		if part.capture < 0 {
			continue
		}
		captured = true
		v := c.values[part.capture]
		if len(v) > maxCaptureLength || v == "." || v == ".." || !utf8.ValidString(v) || !validSegment(v) {
			return "", "", false
		}
	}
	if !captured {
		return r.Resource, action, true
	}
	var b strings.Builder
	for i, part := range r.template {
		if i > 0 {
			b.WriteByte('/')
		}
		if part.capture < 0 {
			b.WriteString(part.literal)
		} else {
			b.WriteString(c.values[part.capture])
		}
	}
	return b.String(), action, true
}

// captures tells whether the rule's resource holds values of the request.
func (r *Rule) captures() bool {
	for _, part := range r.template {
		if part.capture >= 0 {
			return true
		}
	}
	return false
}

// RouteTable finds the rule for a request: the most specific one wins, a rule
// with a host before one without. It is immutable and safe for concurrent use.
type RouteTable struct {
	hosts map[string]*routeNode
	rules []*Rule
}

// NewRouteTable compiles the rules and reports every problem at once: syntax,
// a rule that asks for nothing, and rules that conflict.
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
			if err := rule.pattern.conflict(other.pattern); err != nil {
				problems = append(problems, err)
				conflicts = true
			}
		})
		if !conflicts {
			root.insert(rule.pattern.segments, rule)
			t.rules = append(t.rules, rule)
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
		Shadow: c.Shadow, Until: c.Until, pattern: p}
	var problems []error
	add := func(err error) {
		problems = append(problems, fmt.Errorf("route %q: %w", c.Match, err))
	}
	switch {
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
	if c.Shadow != !c.Until.IsZero() {
		add(errors.New("mode shadow and until go together: a trial needs its end date"))
	}
	return r, errors.Join(problems...)
}

// Rules returns all rules in their configured order.
func (t *RouteTable) Rules() []*Rule { return append([]*Rule(nil), t.rules...) }

// Match returns the rule for a canonical host and path, or nil. It fills c and
// allocates nothing; its cost grows with the path, not with the number of rules.
func (t *RouteTable) Match(method, host, path string, c *Captures) *Rule {
	if path == "" || path[0] != '/' {
		return nil
	}
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
