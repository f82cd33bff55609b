package authz

import "strings"

// routeNode is a node of the tree of path segments that one host's rules make.
// Since conflicting rules are refused, trying a literal first, then a single
// wildcard, then the rest of the path finds the most specific rule.
type routeNode struct {
	literals map[string]*routeNode
	wild     *routeNode
	multi    *routeNode
	rules    []*Rule // that end here, by method: few
}

func (n *routeNode) insert(segments []segment, r *Rule) {
	for _, s := range segments {
		var next **routeNode
		switch {
		case s.multi:
			next = &n.multi
		case s.wild:
			next = &n.wild
		default:
			child := n.literals[s.text]
			if child == nil {
				if n.literals == nil {
					n.literals = map[string]*routeNode{}
				}
				child = &routeNode{}
				n.literals[s.text] = child
			}
			n = child
			continue
		}
		if *next == nil {
			*next = &routeNode{}
		}
		n = *next
	}
	n.rules = append(n.rules, r)
}

// byMethod returns the rule that ends here for the method, most specific first.
func (n *routeNode) byMethod(method string) *Rule {
	var get, all *Rule
	for _, r := range n.rules {
		switch r.pattern.method {
		case method:
			return r
		case "GET":
			if method == "HEAD" {
				get = r
			}
		case "":
			all = r
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
	if child := n.literals[seg]; child != nil {
		if r := child.match(method, rest, c); r != nil {
			return r
		}
	}
	if n.wild != nil && seg != "/" {
		mark := c.n
		c.values[c.n] = seg
		c.n++
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
	out = n.literals[seg].matching(method, rest, out)
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
			if r.pattern.method == m {
				out = append(out, r)
			}
		}
	}
	return out
}

// overlapping calls f for every rule whose path may share requests with
// segments: those that a conflict is possible with.
func (n *routeNode) overlapping(segments []segment, f func(*Rule)) {
	if n == nil {
		return
	}
	if n.multi != nil {
		n.multi.each(f)
	}
	if len(segments) == 0 {
		for _, r := range n.rules {
			f(r)
		}
		return
	}
	switch s, rest := segments[0], segments[1:]; {
	case s.multi:
		for _, r := range n.rules {
			f(r)
		}
		n.wild.each(f)
		for _, child := range n.literals {
			child.each(f)
		}
	case s.wild:
		n.wild.overlapping(rest, f)
		for text, child := range n.literals {
			if text != "/" {
				child.overlapping(rest, f)
			}
		}
	default:
		n.literals[s.text].overlapping(rest, f)
		if s.text != "/" {
			n.wild.overlapping(rest, f)
		}
	}
}

func (n *routeNode) each(f func(*Rule)) {
	if n == nil {
		return
	}
	for _, r := range n.rules {
		f(r)
	}
	n.wild.each(f)
	n.multi.each(f)
	for _, child := range n.literals {
		child.each(f)
	}
}
