package envoy

import (
	"net/url"
	"strings"

	"extauthz/authz"
)

// withoutParameter takes every occurrence of a query parameter out of a request
// target, however its name is encoded, and leaves the rest byte for byte.
// (Envoy's query_parameters_to_remove rewrites and sorts what remains, and
// misses encoded names.)
func withoutParameter(target, name string) string {
	path, query, found := strings.Cut(target, "?")
	if !found {
		return target
	}
	var kept []string
	for pair := range strings.SplitSeq(query, "&") {
		key, _, _ := strings.Cut(pair, "=")
		if decoded, err := url.QueryUnescape(key); key == name || err == nil && decoded == name {
			continue
		}
		kept = append(kept, pair)
	}
	if len(kept) == 0 {
		return path
	}
	return path + "?" + strings.Join(kept, "&")
}

// withoutCookie takes a cookie out of the request's cookie lines and returns
// what remains as one line.
func withoutCookie(headers []authz.Header, name string) string {
	var kept []string
	for i := range headers {
		if headers[i].Name != "cookie" {
			continue
		}
		for pair := range strings.SplitSeq(headers[i].Value, ";") {
			pair = strings.Trim(pair, " \t")
			if key, _, _ := strings.Cut(pair, "="); pair != "" && key != name {
				kept = append(kept, pair)
			}
		}
	}
	return strings.Join(kept, "; ")
}
