package openapi

import (
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
)

// pathPattern turns a path template into a rule's pattern. A template is matched exactly
// or refused: a parameter has to be a whole segment. Only the last segment may be a
// parameter that ends in a literal, such as {id}:cancel.
func pathPattern(path string) (string, error) {
	fail := func(why string) (string, error) { return "", fmt.Errorf("path %q: %s", path, why) }
	rest, ok := strings.CutPrefix(path, "/")
	if !ok {
		return fail("it has to begin with \"/\"")
	}
	if strings.ContainsAny(rest, "?#") {
		return fail("a query or fragment distinguishes no operations: remove it")
	}
	segments := strings.Split(rest, "/")
	for i, s := range segments {
		switch last := i == len(segments)-1; {
		case s == "" && last:
			segments[i] = "{$}" // a trailing slash is that path alone
		case !strings.ContainsAny(s, "{}"):
		case len(s) > 2 && s[0] == '{' && strings.IndexAny(s[1:], "{}") == len(s)-2 && s[len(s)-1] == '}':
			segments[i] = "{" + parameterName(s[1:len(s)-1], i) + "}"
		case last && s[0] == '{' && strings.IndexByte(s, '}') > 1 && strings.Count(s, "{") == 1 && strings.Count(s, "}") == 1:
			name, end, _ := strings.Cut(s[1:], "}")
			segments[i] = "{" + parameterName(name, i) + "}" + end
		default:
			return fail(fmt.Sprintf("%q is neither a whole segment nor a last one that ends in a literal, so that it can't be matched exactly: describe the operation by a rule under routes, and leave it out of the document", s))
		}
	}
	return "/" + strings.Join(segments, "/"), nil
}

// parameterName returns the name if rules can have it, and otherwise one made from its
// position.
func parameterName(name string, position int) string {
	for i, c := range name {
		if c != '_' && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (i == 0 || c < '0' || c > '9') {
			return fmt.Sprintf("p%d", position)
		}
	}
	return name
}

// maxServers bounds the servers of an operation, after the variables are expanded.
const maxServers = 64

// basesOf returns host and base path of each server. A server without a host stands for
// every host; without any server, "/" is the server.
func (r *reader) basesOf(name string, servers []any) ([]string, error) {
	if len(servers) == 0 {
		return []string{""}, nil
	}
	var bases []string
	for _, value := range servers {
		server := r.object(name+": a server", value)
		urls, err := r.expand(name, server)
		if err != nil {
			return nil, err
		}
		for _, text := range urls {
			base, err := baseOf(text)
			if err != nil {
				return nil, fmt.Errorf("server %q: %w", server["url"], err)
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

// expand returns a server's URL for every combination of its variables' values. The
// values of a variable are those in its enum, or the default.
func (r *reader) expand(name string, server object) ([]string, error) {
	url := r.text(name+": a server's url", server["url"])
	urls := []string{url}
	variables := r.object(name+": a server's variables", server["variables"])
	for _, v := range slices.Sorted(maps.Keys(variables)) {
		variable := r.object(name+": variable "+v, variables[v])
		values := []string{r.text(name+": the default of variable "+v, variable["default"])}
		if enum := variable["enum"]; enum != nil {
			listed, ok := texts(enum)
			if !ok || len(listed) == 0 {
				return nil, fmt.Errorf("server %q: the enum of %s has to be a list of texts", url, v)
			}
			values = listed
		}
		var next []string
		for _, u := range urls {
			for _, value := range values {
				next = append(next, strings.ReplaceAll(u, "{"+v+"}", value))
			}
		}
		if urls = next; len(urls) > maxServers {
			return nil, fmt.Errorf("server %q has too many variants: at most %d are allowed", url, maxServers)
		}
	}
	for _, u := range urls {
		if strings.ContainsAny(u, "{}") {
			return nil, fmt.Errorf("server %q has a variable that is not described", url)
		}
	}
	return urls, nil
}
