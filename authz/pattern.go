package authz

import (
	"errors"
	"fmt"
	"net/url"
	"path"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// pattern is a rule's match in the form of net/http.ServeMux: "[METHOD ][HOST]/[PATH]"
// with {name}, {name...} and {$}. It differs from ServeMux in four ways. The last segment
// may be a wildcard with a literal end ({id}:cancel, {name}.json). A request is never
// redirected or cleaned, since its path is canonical already. A host has no port. A
// pattern that could never match is always refused.
type pattern struct {
	text     string
	method   string // "" for all
	host     string // "" for all
	segments []segment
}

// segment is one element of a pattern's path.
type segment struct {
	text  string // literal, or a wildcard's name; "/" is the end that {$} requires
	end   string // of a wildcard: the literal that follows it in its segment
	wild  bool
	multi bool // matches the rest of the path: {name...}, or a trailing slash, whose text is ""
}

// names returns the names of the wildcards in order.
func (p *pattern) names() []string {
	var out []string
	for _, s := range p.segments {
		if s.wild && s.text != "" {
			out = append(out, s.text)
		}
	}
	return out
}

func (p *pattern) last() segment { return p.segments[len(p.segments)-1] }

func (p *pattern) multi() bool { return p.last().multi }

func parsePattern(text string) (*pattern, error) {
	fail := func(why string) (*pattern, error) {
		return nil, fmt.Errorf("route %q: %s; write it as in GET api.example.com/v1/orders/{id}", text, why)
	}
	method, rest, found := text, "", false
	if i := strings.IndexAny(text, " \t"); i >= 0 {
		method, rest, found = text[:i], strings.TrimLeft(text[i+1:], " \t"), true
	}
	if !found {
		method, rest = "", text
	}
	if found && !isToken(method) {
		return fail("the method is no HTTP token")
	}
	p := &pattern{text: text, method: method}
	slash := strings.IndexByte(rest, '/')
	if slash < 0 {
		return fail("a path is missing")
	}
	p.host = rest[:slash]
	if p.host != "" {
		host, ok := CanonicalHost(p.host)
		if !ok || host != strings.ToLower(p.host) {
			return fail("the host is no plain host name without port")
		}
		p.host = host
	}
	rest = rest[slash:]
	if rest != cleanPath(rest) {
		return fail("the path is not clean, so it could never match")
	}
	seen := map[string]bool{}
	for len(rest) > 0 {
		rest = rest[1:] // the slash
		if rest == "" {
			p.segments = append(p.segments, segment{wild: true, multi: true})
			break
		}
		i := strings.IndexByte(rest, '/')
		if i < 0 {
			i = len(rest)
		}
		s, last := rest[:i], i == len(rest)
		rest = rest[i:]
		open := strings.IndexByte(s, '{')
		if open < 0 {
			literal, err := url.PathUnescape(s)
			if err != nil {
				return fail("a percent-encoding is bad")
			}
			if i := strings.IndexFunc(literal, neverJudged); i >= 0 {
				return fail(fmt.Sprintf("%q is never part of a path that is judged, so it could never match", literal[i:i+1]))
			}
			p.segments = append(p.segments, segment{text: literal})
			continue
		}
		inner, end, closed := strings.Cut(s[1:], "}")
		if open != 0 || !closed || strings.ContainsAny(end, "{}") {
			return fail("a wildcard must be a whole segment, or begin the last one, as in {id}:cancel")
		}
		name, multi := strings.CutSuffix(inner, "...")
		switch {
		case end != "" && (multi || name == "$"):
			return fail("nothing may follow {name...} and {$}")
		case end != "" && !last:
			return fail("only the last segment may have a literal after its wildcard, as in {id}:cancel")
		case end != "" && strings.ContainsFunc(end, needsEncoding):
			return fail(fmt.Sprintf("the literal after the wildcard, %q, must be of letters, digits and -._~!$&'()*+,=:@", end))
		case name == "$" && !multi:
			if !last {
				return fail("{$} must be at the end")
			}
			p.segments = append(p.segments, segment{text: "/"})
			continue
		case multi && !last:
			return fail("{name...} must be at the end")
		case !isIdentifier(name):
			return fail("a wildcard's name must be a word of letters, digits and _")
		case seen[name]:
			return fail("the wildcard {" + name + "} occurs twice")
		}
		seen[name] = true
		p.segments = append(p.segments, segment{text: name, end: end, wild: true, multi: multi})
	}
	if len(seen) > maxCaptures {
		return fail(fmt.Sprintf("at most %d wildcards are allowed", maxCaptures))
	}
	return p, nil
}

// cleanPath is path.Clean, but keeps a trailing slash, as ServeMux does.
func cleanPath(p string) string {
	c := path.Clean(p)
	if strings.HasSuffix(p, "/") && c != "/" {
		c += "/"
	}
	return c
}

// neverJudged reports whether a character is one that no decoded segment contains.
func neverJudged(c rune) bool {
	return c < ' ' || c == 0x7f || c == utf8.RuneError || strings.ContainsRune(`/\%;?#`, c)
}

// needsEncoding reports whether a character must be encoded in a segment (RFC 3986, 3.3),
// or is ";", which no judged path contains.
func needsEncoding(c rune) bool {
	return c >= 0x80 || !isUnreserved(byte(c)) && !strings.ContainsRune("!$&'()*+,=:@", c)
}

func isToken(s string) bool {
	for i := range len(s) {
		c := s[i]
		if c <= ' ' || c >= 0x7f || strings.IndexByte(`"(),/:;<=>?@[\]{}`, c) >= 0 {
			return false
		}
	}
	return s != ""
}

func isIdentifier(s string) bool {
	for i, c := range s {
		if c != '_' && !unicode.IsLetter(c) && (i == 0 || !unicode.IsDigit(c)) {
			return false
		}
	}
	return s != ""
}

// relation is how the requests of one pattern relate to those of another.
type relation uint8

const (
	equivalent relation = iota
	moreGeneral
	moreSpecific
	disjoint
	overlaps
)

// and joins the relations of two parts of a pattern.
func (a relation) and(b relation) relation {
	switch {
	case a == disjoint || b == disjoint:
		return disjoint
	case a == b || b == equivalent:
		return a
	case a == equivalent:
		return b
	default:
		return overlaps
	}
}

// conflict returns why p and q can't coexist: they have the same host, and neither
// wins by being more specific for every request that both match.
func (p *pattern) conflict(q *pattern) error {
	if p.host != q.host {
		return nil
	}
	switch p.compareMethod(q).and(p.comparePath(q)) {
	case equivalent:
		return fmt.Errorf("routes %q and %q match the same requests: remove one", p.text, q.text)
	case overlaps:
		return fmt.Errorf("routes %q and %q both match some requests and neither is more specific: narrow one", p.text, q.text)
	}
	return nil
}

func (p *pattern) wildcard() bool {
	return slices.ContainsFunc(p.segments, func(s segment) bool { return s.wild })
}

// catchAll reports whether p is for every path of its host.
func (p *pattern) catchAll() bool { return p.segments[0].multi }

// same reports whether both match the same requests.
func (p *pattern) same(q *pattern) bool {
	return p.host == q.host && p.compareMethod(q).and(p.comparePath(q)) == equivalent
}

func (p *pattern) compareMethod(q *pattern) relation {
	switch {
	case p.method == q.method:
		return equivalent
	case p.method == "", p.method == "GET" && q.method == "HEAD":
		return moreGeneral
	case q.method == "", q.method == "GET" && p.method == "HEAD":
		return moreSpecific
	}
	return disjoint
}

func (p *pattern) comparePath(q *pattern) relation {
	r := equivalent
	n := min(len(p.segments), len(q.segments))
	for i := range n {
		if r = r.and(p.segments[i].compare(q.segments[i])); r == disjoint {
			return r
		}
	}
	switch {
	case len(p.segments) == len(q.segments):
		return r
	case len(p.segments) == n && p.multi():
		return r.and(moreGeneral)
	case len(q.segments) == n && q.multi():
		return r.and(moreSpecific)
	}
	return disjoint
}

func (s segment) compare(t segment) relation {
	switch {
	case s.multi && t.multi:
		return equivalent
	case s.multi:
		return moreGeneral
	case t.multi:
		return moreSpecific
	case s.wild && t.wild && s.end == t.end:
		return equivalent
	case s.wild && t.wild && strings.HasSuffix(t.end, s.end):
		return moreGeneral
	case s.wild && t.wild && strings.HasSuffix(s.end, t.end):
		return moreSpecific
	case s.wild && t.wild:
		return disjoint
	case s.wild && s.takes(t.text):
		return moreGeneral
	case t.wild && t.takes(s.text):
		return moreSpecific
	case !s.wild && !t.wild && s.text == t.text:
		return equivalent
	}
	return disjoint
}

// takes reports whether s, a wildcard for one segment, matches a segment with this text.
func (s segment) takes(text string) bool {
	return text != "/" && len(text) > len(s.end) && strings.HasSuffix(text, s.end)
}

// resourceTemplate is a rule's resource, in which a capture is always a whole segment.
type resourceTemplate []struct {
	literal string
	capture int // index into Captures, or -1
}

// within returns the resource as a substring of the path, such as "orders/42" of
// /v1/orders/42; ok is false if the path does not contain it.
func (t resourceTemplate) within(c *Captures) (resource string, ok bool) {
	start := -1
	before := 0 // bytes of the resource before its first capture
	for _, part := range t {
		if part.capture >= 0 {
			start = c.starts[part.capture] - before
			break
		}
		before += len(part.literal) + len("/")
	}
	if start < 0 {
		return "", false
	}
	rest := c.path[start:]
	for i, part := range t {
		text := part.literal
		if part.capture >= 0 {
			text = c.values[part.capture]
		}
		if i > 0 {
			if rest, ok = strings.CutPrefix(rest, "/"); !ok {
				return "", false
			}
		}
		if rest, ok = strings.CutPrefix(rest, text); !ok {
			return "", false
		}
	}
	return c.path[start : len(c.path)-len(rest)], true
}

func parseResource(resource string, p *pattern) (resourceTemplate, error) {
	names := p.names()
	if p.multi() && len(names) > 0 && p.last().text != "" {
		names = names[:len(names)-1] // the rest of a path is not a single segment
	}
	var t resourceTemplate
	plain := make([]string, 0, 4)
	for s := range strings.SplitSeq(resource, "/") {
		part := struct {
			literal string
			capture int
		}{s, -1}
		if name, ok := strings.CutPrefix(s, "{"); ok && strings.HasSuffix(name, "}") {
			name = strings.TrimSuffix(name, "}")
			if part.capture = slices.Index(names, name); part.capture < 0 {
				return nil, fmt.Errorf("resource %q names {%s}, which is no single-segment wildcard of the match: it has %q", resource, name, names)
			}
			s = "x"
		}
		plain = append(plain, s)
		t = append(t, part)
	}
	joined := strings.Join(plain, "/")
	if !validResource(joined) || strings.Contains(joined, "*") || strings.ContainsAny(joined, "{}") {
		return nil, fmt.Errorf("resource %q: write segments joined by \"/\", each a word or a whole {wildcard}, such as orders/{id}", resource)
	}
	if plain[0] == ReservedResource {
		return nil, errors.New("resource " + ReservedResource + " is the management API's own: choose another name")
	}
	if t[0].capture >= 0 {
		return nil, fmt.Errorf("resource %q: the first segment must be a word, so that no caller can choose it", resource)
	}
	return t, nil
}
