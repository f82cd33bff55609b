package authz

import (
	"slices"
	"strings"
)

// routeEnds are the nodes of last segments that are a wildcard with a literal end, such
// as {id}:cancel. A search costs one look-up for each different length of the ends,
// however many ends there are.
type routeEnds struct {
	lengths []int // of the ends, each once, longest first
	nodes   map[string]*routeNode
}

func (e *routeEnds) add(end string) *routeNode {
	if n := e.nodes[end]; n != nil {
		return n
	}
	n := &routeNode{}
	e.nodes[end] = n
	if !slices.Contains(e.lengths, len(end)) {
		e.lengths = append(e.lengths, len(end))
		slices.SortFunc(e.lengths, func(a, b int) int { return b - a })
	}
	return n
}

// match returns the rule for the segment that ends the path, or nil; path begins with the
// slash before that segment.
func (e *routeEnds) match(method, segment, path string, c *Captures) *Rule {
	for _, length := range e.lengths {
		at := len(segment) - length
		if at <= 0 {
			continue // nothing is left for the wildcard
		}
		n := e.nodes[segment[at:]]
		if n == nil {
			continue
		}
		if r := n.byMethod(method); r != nil {
			c.take(segment[:at], path)
			return r
		}
	}
	return nil
}

// matching collects all rules for the segment, most specific first.
func (e *routeEnds) matching(method, segment string, out []*Rule) []*Rule {
	for _, length := range e.lengths {
		if at := len(segment) - length; at > 0 {
			if n := e.nodes[segment[at:]]; n != nil {
				out = n.appendMethods(method, out)
			}
		}
	}
	return out
}

// overlapping calls f for every rule that may match the same requests as the last segment
// s. s is not a wildcard for the rest of a path.
func (e *routeEnds) overlapping(s segment, f func(*Rule)) {
	if e == nil || s.text == "/" && !s.wild {
		return
	}
	text := s.end
	if !s.wild {
		text = s.text
	}
	for _, length := range e.lengths {
		if length <= len(text) {
			if n := e.nodes[text[len(text)-length:]]; n != nil {
				n.each(f)
			}
		}
	}
	if !s.wild || e.lengths[0] <= len(text) {
		return
	}
	for end, n := range e.nodes {
		if len(end) > len(text) && strings.HasSuffix(end, text) {
			n.each(f)
		}
	}
}

func (e *routeEnds) each(f func(*Rule)) {
	if e == nil {
		return
	}
	for _, n := range e.nodes {
		n.each(f)
	}
}
