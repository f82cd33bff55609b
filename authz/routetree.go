package authz

import "strings"

// routeNode is a node of the tree of path segments that the rules of one host form. To
// find the most specific rule, a search tries a literal first, then a wildcard with a
// literal end (the longest end first), then a wildcard without one, then the rest of the
// path. That suffices since conflicting rules are refused.
type routeNode struct {
	literals []literal
	index    map[string]*routeNode // of literals, if there are more than fewLiterals
	ends     *routeEnds            // nil: none
	wild     *routeNode
	multi    *routeNode
	rules    []methodRule // that end here: few
}

// fewLiterals is the number of literals up to which a linear search is faster than a map,
// whose entries are elsewhere in memory.
const fewLiterals = 8

type literal struct {
	text string
	node *routeNode
}

type methodRule struct {
	method string
	rule   *Rule
}

// literal returns the node below n for a segment, or nil.
func (n *routeNode) literal(text string) *routeNode {
	if n.index != nil {
		return n.index[text]
	}
	for i := range n.literals {
		if n.literals[i].text == text {
			return n.literals[i].node
		}
	}
	return nil
}

func (n *routeNode) addLiteral(text string) *routeNode {
	node := &routeNode{}
	n.literals = append(n.literals, literal{text, node})
	switch {
	case n.index != nil:
		n.index[text] = node
	case len(n.literals) > fewLiterals:
		n.index = make(map[string]*routeNode, len(n.literals))
		for _, l := range n.literals {
			n.index[l.text] = l.node
		}
	}
	return node
}

func (n *routeNode) insert(segments []segment, r *Rule) {
	for _, s := range segments {
		var next **routeNode
		switch {
		case s.multi:
			next = &n.multi
		case s.end != "":
			if n.ends == nil {
				n.ends = &routeEnds{nodes: map[string]*routeNode{}}
			}
			n = n.ends.add(s.end)
			continue
		case s.wild:
			next = &n.wild
		default:
			child := n.literal(s.text)
			if child == nil {
				child = n.addLiteral(s.text)
			}
			n = child
			continue
		}
		if *next == nil {
			*next = &routeNode{}
		}
		n = *next
	}
	n.rules = append(n.rules, methodRule{r.pattern.method, r})
}

// byMethod returns the rule that ends here for the method, most specific first.
func (n *routeNode) byMethod(method string) *Rule {
	var get, all *Rule
	for i := range n.rules {
		switch r := &n.rules[i]; r.method {
		case method:
			return r.rule
		case "GET":
			if method == "HEAD" {
				get = r.rule
			}
		case "":
			all = r.rule
		}
	}
	if get != nil {
		return get
	}
	return all
}

func (n *routeNode) match(method, path string, c *Captures) *Rule {
	if n == nil {
		return nil
	}
	if path == "" {
		return n.byMethod(method)
	}
	seg, rest := firstSegment(path)
	if child := n.literal(seg); child != nil {
		if r := child.match(method, rest, c); r != nil {
			return r
		}
	}
	if n.ends != nil && rest == "" {
		if r := n.ends.match(method, seg, path, c); r != nil {
			return r
		}
	}
	if n.wild != nil && seg != "/" {
		mark := c.n
		c.take(seg, path)
		if r := n.wild.match(method, rest, c); r != nil {
			return r
		}
		c.n = mark
	}
	if n.multi != nil {
		return n.multi.byMethod(method)
	}
	return nil
}

// firstSegment cuts the first segment off a path that begins with a slash; the
// lone slash at a path's end is a segment of its own.
func firstSegment(path string) (seg, rest string) {
	if path == "/" {
		return "/", ""
	}
	path = path[1:]
	if i := strings.IndexByte(path, '/'); i >= 0 {
		return path[:i], path[i:]
	}
	return path, ""
}

// matching collects all rules for a path, most specific first.
func (n *routeNode) matching(method, path string, out []*Rule) []*Rule {
	if n == nil {
		return out
	}
	if path == "" {
		return n.appendMethods(method, out)
	}
	seg, rest := firstSegment(path)
	out = n.literal(seg).matching(method, rest, out)
	if n.ends != nil && rest == "" {
		out = n.ends.matching(method, seg, out)
	}
	if seg != "/" {
		out = n.wild.matching(method, rest, out)
	}
	if n.multi != nil {
		out = n.multi.appendMethods(method, out)
	}
	return out
}

func (n *routeNode) appendMethods(method string, out []*Rule) []*Rule {
	wanted := []string{method, "GET", ""}
	if method != "HEAD" {
		wanted = []string{method, ""}
	}
	for _, m := range wanted {
		for _, r := range n.rules {
			if r.method == m {
				out = append(out, r.rule)
			}
		}
	}
	return out
}

// overlapping calls f for every rule that may match the same paths as segments, so that
// the two rules could conflict.
func (n *routeNode) overlapping(segments []segment, f func(*Rule)) {
	if n == nil {
		return
	}
	if n.multi != nil {
		n.multi.each(f)
	}
	if len(segments) == 0 {
		for _, r := range n.rules {
			f(r.rule)
		}
		return
	}
	switch s, rest := segments[0], segments[1:]; {
	case s.multi:
		for _, r := range n.rules {
			f(r.rule)
		}
		n.wild.each(f)
		n.ends.each(f)
		for _, l := range n.literals {
			l.node.each(f)
		}
	case s.wild:
		n.wild.overlapping(rest, f)
		if len(rest) == 0 {
			n.ends.overlapping(s, f)
		}
		for _, l := range n.literals {
			if l.text != "/" {
				l.node.overlapping(rest, f)
			}
		}
	default:
		n.literal(s.text).overlapping(rest, f)
		if s.text != "/" {
			n.wild.overlapping(rest, f)
			if len(rest) == 0 {
				n.ends.overlapping(s, f)
			}
		}
	}
}

func (n *routeNode) each(f func(*Rule)) {
	if n == nil {
		return
	}
	for _, r := range n.rules {
		f(r.rule)
	}
	n.ends.each(f)
	n.wild.each(f)
	n.multi.each(f)
	for _, l := range n.literals {
		l.node.each(f)
	}
}
