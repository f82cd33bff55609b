package authz

import (
	"errors"
	"fmt"
	"strings"
)

// MethodAction returns the action that a method implies if none is named, or "" if it
// implies none.
func MethodAction(method string) string {
	switch method {
	case "GET", "HEAD":
		return "read"
	case "POST":
		return "create"
	case "PUT", "PATCH":
		return "update"
	case "DELETE":
		return "delete"
	}
	return ""
}

// VersionPlaceholder is the segment of a strip prefix that matches any API
// version, see [isAPIVersion].
const VersionPlaceholder = "{version}"

// DefaultMap derives a resource for requests that no rule matches. It is the first
// segment of the path, behind prefixes that only locate the API, or the service of a gRPC
// call. It is immutable.
//
// Each segment that is dropped widens what a key may reach, since the segment behind it
// becomes the resource. So a prefix matches whole segments by their text, or an API
// version by its grammar. It can't be a pattern, which could match a resource's own name
// too.
type DefaultMap struct{ strip [][]string }

// NewDefaultMap takes prefixes such as "/api" and "/{version}": whole literal
// segments as they are in a decoded path, and [VersionPlaceholder]. They are
// stripped in the given order, each at most once. Every invalid prefix is
// reported.
func NewDefaultMap(stripPrefixes []string) (*DefaultMap, error) {
	m := &DefaultMap{}
	var problems []error
	for _, p := range stripPrefixes {
		segments, err := stripPrefix(p)
		if err != nil {
			problems = append(problems, fmt.Errorf("strip prefix %q: %w", p, err))
			continue
		}
		m.strip = append(m.strip, segments)
	}
	if len(problems) > 0 {
		return nil, errors.Join(problems...)
	}
	return m, nil
}

func stripPrefix(prefix string) ([]string, error) {
	plain := strings.ReplaceAll(prefix, VersionPlaceholder, "v1")
	switch i := strings.IndexAny(plain, `*?[]{}\`); {
	case i >= 0:
		return nil, fmt.Errorf("%q would match names of resources too; write whole segments such as /api, and /%s for any API version (v1, v2beta1)", plain[i], VersionPlaceholder)
	case !strings.HasPrefix(prefix, "/"):
		return nil, fmt.Errorf("it does not begin with a slash; write whole segments, such as /api or /%s", VersionPlaceholder)
	}
	if path, fault := plainPath(plain, false); fault != PathPlain || path != plain {
		return nil, fmt.Errorf("no canonical path begins with it; write whole segments as they are decoded, such as /api or /%s", VersionPlaceholder)
	}
	segments := strings.Split(strings.Trim(prefix, "/"), "/")
	for _, s := range segments {
		if s == "" || s != VersionPlaceholder && strings.Contains(s, VersionPlaceholder) {
			return nil, fmt.Errorf("write whole segments, such as /api or /%s", VersionPlaceholder)
		}
	}
	return segments, nil
}

// Target returns the resource and action of the request; ok is false for methods without
// an action, for an empty or ambiguous segment, for the reserved resource, and for a gRPC
// call behind a prefix.
//
// No prefix is stripped from a gRPC call: its first segment is the name of the service. A
// call behind a prefix (/api/pkg.Orders/Delete) is not judged as an HTTP request either:
// it would then need the action of POST, whatever the call does. So it needs a rule.
func (m *DefaultMap) Target(method, requestPath string) (resource, action string, ok bool) {
	rest := strings.TrimPrefix(requestPath, "/")
	if isGRPCPath(method, rest) {
		resource, action = grpcMethod(rest)
	} else {
		if rest = m.stripped(rest); isGRPCPath(method, rest) {
			return "", "", false
		}
		resource, _, _ = strings.Cut(rest, "/")
		action = MethodAction(method)
	}
	return resource, action, validAction(action) && len(resource) <= MaxResourceLength &&
		validSegment(resource) && resource != ReservedResource
}

// stripped removes the prefixes from a path whose leading slash was removed.
func (m *DefaultMap) stripped(rest string) string {
	for _, prefix := range m.strip {
		rest = stripSegments(rest, prefix)
	}
	return rest
}

func stripSegments(rest string, prefix []string) string {
	after := rest
	for _, want := range prefix {
		segment, tail, more := strings.Cut(after, "/")
		if !more || !prefixMatches(want, segment) {
			return rest
		}
		after = tail
	}
	return after
}

// prefixMatches never compares the placeholder as a literal, since a client may send it.
func prefixMatches(want, segment string) bool {
	if want == VersionPlaceholder {
		return isAPIVersion(segment)
	}
	return segment == want
}

// isAPIVersion recognises a version as API designs write it (Google's AIP-185,
// Kubernetes): v1, v12, v2beta1, v1p1beta1, v1alpha. It is lower case, and its
// numbers have at most three digits and no leading zero: vaults, v8-engine,
// v1x and v2026 are names.
func isAPIVersion(segment string) bool {
	rest, ok := strings.CutPrefix(segment, "v")
	if !ok {
		return false
	}
	if rest, ok = cutNumber(rest); !ok || rest == "" {
		return ok
	}
	if point, found := strings.CutPrefix(rest, "p"); found {
		if rest, ok = cutNumber(point); !ok {
			return false
		}
	}
	for _, stage := range [...]string{"alpha", "beta"} {
		if number, found := strings.CutPrefix(rest, stage); found {
			if number == "" {
				return true
			}
			rest, ok = cutNumber(number)
			return ok && rest == ""
		}
	}
	return false
}

// cutNumber removes a number of one to three digits, without a leading zero, from the
// start of s.
func cutNumber(s string) (rest string, ok bool) {
	n := 0
	for n < len(s) && '0' <= s[n] && s[n] <= '9' {
		n++
	}
	return s[n:], n > 0 && n <= 3 && (n == 1 || s[0] != '0')
}
