package envoy

import (
	"net/url"
	"strings"

	"extauthz/authz"
)

// withoutParameter removes every occurrence of a query parameter from a request target,
// however its name is encoded. It leaves the rest unchanged, byte for byte. If name is
// "", it removes every parameter that holds a key. (Envoy's query_parameters_to_remove
// rewrites and sorts what remains, and misses encoded names.)
func (e *encoder) withoutParameter(target, name string) string {
	path, query, found := strings.Cut(target, "?")
	if !found {
		return target
	}
	var kept []string
	for pair := range strings.SplitSeq(query, "&") {
		if name == "" && e.holds(pair) || name != "" && isParameter(pair, name) {
			continue
		}
		kept = append(kept, pair)
	}
	if len(kept) == 0 {
		return path
	}
	return path + "?" + strings.Join(kept, "&")
}

func isParameter(pair, name string) bool {
	key, _, _ := strings.Cut(pair, "=")
	decoded, err := url.QueryUnescape(key)
	return key == name || err == nil && decoded == name
}

// withoutCookie removes a cookie from the request's cookie lines, and returns the
// remaining cookies as one line. If name is "", it removes every cookie that holds a key.
func (e *encoder) withoutCookie(headers []authz.Header, name string) string {
	var kept []string
	for i := range headers {
		if headers[i].Name != "cookie" {
			continue
		}
		for pair := range strings.SplitSeq(headers[i].Value, ";") {
			pair = strings.Trim(pair, " \t")
			key, _, _ := strings.Cut(pair, "=")
			if pair == "" || name != "" && key == name || name == "" && e.holds(pair) || !plainValue(pair) {
				continue // a cookie that is not ASCII can't go back
			}
			kept = append(kept, pair)
		}
	}
	return strings.Join(kept, "; ")
}
