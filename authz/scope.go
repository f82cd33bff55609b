package authz

import (
	"errors"
	"fmt"
	"slices"
	"sort"
	"strings"
	"unicode/utf8"
)

// ReservedResource is the management API's own resource. Only scopes that name
// it literally match it and what is below it: "*:*" makes no administrator.
const ReservedResource = "extauthz"

// The bounds of scopes.
const (
	MaxScopes         = 256 // resources of a key or role
	MaxResourceLength = 255 // bytes
	MaxActionLength   = 64  // bytes
)

// Scope allows actions on a resource and on everything below it: "orders" covers
// "orders/42". A segment "*" matches any one segment. The resource "*" covers all
// resources but the reserved one.
type Scope struct {
	Resource string   `json:"resource"`
	Actions  []string `json:"actions"` // sorted; "*" alone means all
}

// Scopes is a canonical set: one element for each resource, sorted by resource. Make it
// with [NewScopes] or [ParseScopes], and don't change it afterwards.
type Scopes []Scope

// ParseScopes reads texts such as "orders:read", "orders:read,create", "orders/eu:*" and
// "*:*", and reports every invalid one at once.
func ParseScopes(texts []string) (Scopes, error) {
	var problems []error
	scopes := make([]Scope, 0, len(texts))
	for _, text := range texts {
		// The last colon divides; neither resources nor actions may contain colons.
		i := strings.LastIndexByte(text, ':')
		if i < 0 {
			problems = append(problems, fmt.Errorf("scope %q: write resource:action, such as orders:read or orders/eu:*", text))
			continue
		}
		s := Scope{Resource: text[:i], Actions: strings.Split(text[i+1:], ",")}
		if err := s.validate(); err != nil {
			problems = append(problems, err)
			continue
		}
		scopes = append(scopes, s)
	}
	if len(problems) > 0 {
		return nil, errors.Join(problems...)
	}
	return NewScopes(scopes)
}

// NewScopes validates and merges scopes into the canonical set.
func NewScopes(scopes []Scope) (Scopes, error) {
	var problems []error
	merged := map[string][]string{}
	for _, s := range scopes {
		if err := s.validate(); err != nil {
			problems = append(problems, err)
			continue
		}
		merged[s.Resource] = append(merged[s.Resource], s.Actions...)
	}
	if len(merged) > MaxScopes {
		problems = append(problems, fmt.Errorf("%d scopes: at most %d are allowed, put them into roles", len(merged), MaxScopes))
	}
	if len(problems) > 0 {
		return nil, errors.Join(problems...)
	}
	if len(merged) == 0 {
		return nil, nil
	}
	out := make(Scopes, 0, len(merged))
	for resource, actions := range merged {
		if slices.Contains(actions, "*") {
			actions = []string{"*"}
		}
		sort.Strings(actions)
		out = append(out, Scope{Resource: resource, Actions: slices.Compact(actions)})
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Resource < out[j].Resource })
	return out, nil
}

func (s Scope) validate() error {
	text := s.Resource + ":" + strings.Join(s.Actions, ",")
	if !validResource(s.Resource) {
		return fmt.Errorf("scope %q: a resource is segments joined by \"/\", without spaces, \":\" and \",\", where a whole segment may be *, such as orders/eu:read", text)
	}
	if len(s.Actions) == 0 {
		return fmt.Errorf("scope %q: name at least one action, such as %s:read", text, s.Resource)
	}
	for _, a := range s.Actions {
		if a != "*" && !validAction(a) {
			return fmt.Errorf("scope %q: an action is lower-case letters, digits, \"_\", \".\" and \"-\", or *, such as %s:read", text, s.Resource)
		}
	}
	return nil
}

func validResource(r string) bool {
	if r == "" || len(r) > MaxResourceLength || !utf8.ValidString(r) {
		return false
	}
	for rest, more := r, true; more; {
		var segment string
		segment, rest, more = strings.Cut(rest, "/")
		if segment == "*" {
			continue
		}
		if segment == "." || segment == ".." || !validSegment(segment) {
			return false
		}
	}
	return true
}

// validSegment reports whether a segment has only printable characters, and none that is
// a separator in a scope's text, in a list of scopes or in a path.
func validSegment(segment string) bool {
	if segment == "" {
		return false
	}
	for _, c := range segment {
		if !segmentCharacter(c) {
			return false
		}
	}
	return true
}

func segmentCharacter(c rune) bool {
	switch c {
	case '/', '*', ':', ',', '\\', 0x7f, utf8.RuneError:
		return false
	}
	return c > ' ' && !isFormatOrSpace(c)
}

// writeSegment writes a value as a segment of a resource. It percent-encodes "%" and
// characters that a segment can't have, so that two different values never become the
// same segment.
func writeSegment(b *strings.Builder, value string) {
	const hex = "0123456789ABCDEF"
	for _, c := range value {
		if c != '%' && segmentCharacter(c) {
			b.WriteRune(c)
			continue
		}
		var text [utf8.UTFMax]byte
		for _, part := range text[:utf8.EncodeRune(text[:], c)] {
			b.WriteByte('%')
			b.WriteByte(hex[part>>4])
			b.WriteByte(hex[part&15])
		}
	}
}

// isFormatOrSpace finds Unicode's own control, space and invisible characters:
// two resources that look the same must be the same.
func isFormatOrSpace(c rune) bool {
	return c >= 0x80 && c <= 0xa0 || c == 0xad || c >= 0x2000 && c <= 0x200f ||
		c >= 0x2028 && c <= 0x202f || c >= 0x205f && c <= 0x206f || c == 0x3000 || c == 0xfeff
}

func validAction(a string) bool {
	if a == "" || len(a) > MaxActionLength {
		return false
	}
	for i := range len(a) {
		c := a[i]
		word := c >= 'a' && c <= 'z' || c >= '0' && c <= '9'
		if !word && (i == 0 || c != '_' && c != '.' && c != '-') {
			return false
		}
	}
	return true
}

// Allows reports whether one of the scopes allows action on resource. It
// allocates nothing.
func (s Scopes) Allows(resource, action string) bool {
	if resource == "" || action == "" {
		return false
	}
	for i := range s {
		if s[i].allowsAction(action) && covers(s[i].Resource, resource) {
			return true
		}
	}
	return false
}

func (s *Scope) allowsAction(action string) bool {
	for _, a := range s.Actions {
		if a == action || a == "*" {
			return true
		}
	}
	return false
}

// covers reports whether a scope on pattern covers resource. It compares segment by
// segment; everything below the pattern is covered. A "*" never matches the reserved
// first segment.
func covers(pattern, resource string) bool {
	for first := true; ; first = false {
		p, pRest, pMore := strings.Cut(pattern, "/")
		r, rRest, rMore := strings.Cut(resource, "/")
		if p != r && (p != "*" || first && r == ReservedResource) {
			return false
		}
		if !pMore {
			return true
		}
		if !rMore {
			return false
		}
		pattern, resource = pRest, rRest
	}
}

// Covers reports whether s allows everything that t allows: an administrator with the
// grants s may then grant t. It may return false if only several scopes of s together
// cover one scope of t. It never returns true if s lacks something.
func (s Scopes) Covers(t Scopes) bool {
	for i := range t {
		for _, action := range t[i].Actions {
			// Only a "*" in s covers a "*" in t: covers compares the latter as a literal,
			// which no other segment equals.
			if !s.Allows(t[i].Resource, action) {
				return false
			}
		}
	}
	return true
}

// Reserved returns the scopes on the reserved resource and below it.
func (s Scopes) Reserved() Scopes {
	var found Scopes
	for _, scope := range s {
		if scope.reserved() {
			found = append(found, scope)
		}
	}
	return found
}

// Ordinary returns the scopes that are not [Scopes.Reserved].
func (s Scopes) Ordinary() Scopes {
	var found Scopes
	for _, scope := range s {
		if !scope.reserved() {
			found = append(found, scope)
		}
	}
	return found
}

func (s *Scope) reserved() bool {
	first, _, _ := strings.Cut(s.Resource, "/")
	return first == ReservedResource
}

// Union returns the scopes of both.
func (s Scopes) Union(t Scopes) Scopes {
	if len(t) == 0 {
		return s
	}
	if len(s) == 0 {
		return t
	}
	out := make(Scopes, 0, len(s)+len(t))
	for len(s) > 0 && len(t) > 0 {
		switch {
		case s[0].Resource < t[0].Resource:
			out, s = append(out, s[0]), s[1:]
		case s[0].Resource > t[0].Resource:
			out, t = append(out, t[0]), t[1:]
		default:
			out, s, t = append(out, Scope{s[0].Resource, unionActions(s[0].Actions, t[0].Actions)}), s[1:], t[1:]
		}
	}
	return append(append(out, s...), t...)
}

func unionActions(a, b []string) []string {
	all := slices.Concat(a, b)
	if slices.Contains(all, "*") {
		return []string{"*"}
	}
	sort.Strings(all)
	return slices.Compact(all)
}

// Equal reports whether both allow the same by the same scopes.
func (s Scopes) Equal(t Scopes) bool {
	return slices.EqualFunc(s, t, func(a, b Scope) bool {
		return a.Resource == b.Resource && slices.Equal(a.Actions, b.Actions)
	})
}

// Strings returns one "resource:action" for each action, sorted.
func (s Scopes) Strings() []string {
	out := make([]string, 0, len(s))
	for _, scope := range s {
		for _, a := range scope.Actions {
			out = append(out, scope.Resource+":"+a)
		}
	}
	sort.Strings(out)
	return out
}
