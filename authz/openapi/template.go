package openapi

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"
)

// pathPattern brings a path template into a rule's form. A template is matched
// exactly or not at all: one that is part of a segment is refused.
func pathPattern(path string) (string, error) {
	fail := func(why string) (string, error) { return "", fmt.Errorf("path %q: %s", path, why) }
	rest, ok := strings.CutPrefix(path, "/")
	if !ok {
		return fail("it has to begin with \"/\"")
	}
	if strings.ContainsAny(rest, "?#") {
		return fail("a query or fragment tells no operations apart: remove it")
	}
	segments := strings.Split(rest, "/")
	for i, s := range segments {
		switch last := i == len(segments)-1; {
		case s == "" && last:
			segments[i] = "{$}" // a trailing slash is that path alone
		case !strings.ContainsAny(s, "{}"):
		case len(s) > 2 && s[0] == '{' && strings.IndexAny(s[1:], "{}") == len(s)-2 && s[len(s)-1] == '}':
			segments[i] = "{" + parameterName(s[1:len(s)-1], i) + "}"
		default:
			return fail(fmt.Sprintf("%q is not a whole segment, so that it can't be matched exactly: describe the operation by a rule under routes, and leave it out of the document", s))
		}
	}
	return "/" + strings.Join(segments, "/"), nil
}

// parameterName keeps a name that rules can have.
func parameterName(name string, position int) string {
	for i, c := range name {
		if c != '_' && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (i == 0 || c < '0' || c > '9') {
			return fmt.Sprintf("p%d", position)
		}
	}
	return name
}

// maxServers bounds what the variables of servers expand to.
const maxServers = 64

// basesOf returns host and base path of each server. A server without a host is
// every host; none at all is "/" there.
func basesOf(servers openapi3.Servers) ([]string, error) {
	if len(servers) == 0 {
		return []string{""}, nil
	}
	var bases []string
	for _, server := range servers {
		urls, err := expand(server)
		if err != nil {
			return nil, err
		}
		for _, text := range urls {
			base, err := baseOf(text)
			if err != nil {
				return nil, fmt.Errorf("server %q: %w", server.URL, err)
			}
			bases = append(bases, base)
		}
	}
	slices.Sort(bases)
	bases = slices.Compact(bases)
	if len(bases) > maxServers {
		return nil, fmt.Errorf("its servers are %d: at most %d are allowed", len(bases), maxServers)
	}
	return bases, nil
}

func baseOf(text string) (string, error) {
	u, err := url.Parse(text)
	if err != nil || u.RawQuery != "" || u.Fragment != "" || u.Opaque != "" {
		return "", errors.New("write a URL without query and fragment, such as https://api.example.com/v1")
	}
	path := strings.TrimSuffix(strings.TrimPrefix(u.EscapedPath(), "."), "/")
	if path != "" && path[0] != '/' {
		path = "/" + path
	}
	return strings.ToLower(u.Hostname()) + path, nil
}

// expand returns a server's URL with each value of each of its variables: those
// listed, or the default.
func expand(server *openapi3.Server) ([]string, error) {
	urls := []string{server.URL}
	for name, variable := range server.Variables {
		values := variable.Enum
		if len(values) == 0 {
			values = []string{variable.Default}
		}
		var next []string
		for _, u := range urls {
			for _, value := range values {
				next = append(next, strings.ReplaceAll(u, "{"+name+"}", value))
			}
		}
		if urls = next; len(urls) > maxServers {
			return nil, fmt.Errorf("server %q has too many variants: at most %d are allowed", server.URL, maxServers)
		}
	}
	for _, u := range urls {
		if strings.ContainsAny(u, "{}") {
			return nil, fmt.Errorf("server %q has a variable that is not described", server.URL)
		}
	}
	return urls, nil
}
