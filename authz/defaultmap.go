package authz

import (
	"errors"
	"fmt"
	"path"
	"strings"
)

// MethodAction is the action that a method stands for where none is named, or
// "" where it stands for none.
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

// DefaultMap names a resource for requests that no rule matches: the path's
// first segment, after prefixes that only say where the API lives; the service
// for gRPC calls.
type DefaultMap struct{ strip [][]string }

// NewDefaultMap takes prefixes such as "/api" and "/v*", whose segments may hold
// "*". They are taken off in the given order, each at most once.
func NewDefaultMap(stripPrefixes []string) (*DefaultMap, error) {
	m := &DefaultMap{}
	var problems []error
	for _, p := range stripPrefixes {
		segments := strings.Split(strings.Trim(p, "/"), "/")
		bad := !strings.HasPrefix(p, "/")
		for _, s := range segments {
			if _, err := path.Match(s, ""); err != nil || s == "" || strings.ContainsAny(s, `?[]\`) {
				bad = true
			}
		}
		if bad {
			problems = append(problems, fmt.Errorf("strip prefix %q: write whole segments, such as /api or /v*", p))
			continue
		}
		m.strip = append(m.strip, segments)
	}
	if len(problems) > 0 {
		return nil, errors.Join(problems...)
	}
	return m, nil
}

// Target returns what the request asks for; ok is false for methods that stand
// for no action, for an empty or odd segment and for the reserved resource.
func (m *DefaultMap) Target(method, requestPath string) (resource, action string, ok bool) {
	rest := strings.TrimPrefix(requestPath, "/")
	for _, prefix := range m.strip {
		rest = stripSegments(rest, prefix)
	}
	var grpc bool
	if resource, action, grpc = grpcMethod(method, rest); !grpc {
		resource, _, _ = strings.Cut(rest, "/")
		action = MethodAction(method)
	}
	return resource, action, action != "" && len(resource) <= MaxResourceLength &&
		validSegment(resource) && resource != ReservedResource
}

func stripSegments(rest string, prefix []string) string {
	after := rest
	for _, pattern := range prefix {
		segment, tail, more := strings.Cut(after, "/")
		if matched, _ := path.Match(pattern, segment); !matched || !more {
			return rest
		}
		after = tail
	}
	return after
}
