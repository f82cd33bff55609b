package envoy

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"extauthz/authz"
)

// nginxDialect is auth_request's, which takes 401 and 403 for denials, and any
// other status but 2xx for an error that it answers with 500. The operator sets
// X-Original-Method, X-Original-URI and Host.
var nginxDialect = dialect{
	read: forwarded{method: "X-Original-Method", uri: "X-Original-Uri"}.read,
	own:  []string{"x-original-method", "x-original-uri"},
	status: func(status int) int {
		if status == http.StatusUnauthorized || status >= 500 {
			return status
		}
		return http.StatusForbidden
	}}

// gatewayFabricDialect is auth_request's as NGINX Gateway Fabric writes it for the
// ExternalAuth filter of the Gateway API: it sets Method, Path and Host, and copies
// listed headers of the client.
var gatewayFabricDialect = dialect{read: forwarded{method: "Method", uri: "Path"}.read, status: nginxDialect.status}

// caddyDialect is forward_auth's. Until 2.9 it writes a placeholder's own text
// where a header to copy is absent, so none is.
var caddyDialect = dialect{read: forwardedXForwarded.read, own: ownXForwarded, status: unchanged, blanks: true}

// traefikDialect is ForwardAuth's. It removes the headers that it is to copy
// before it does, and would pass empty ones on. It names itself in X-Forwarded-Server.
var traefikDialect = dialect{read: forwardedXForwarded.read, own: append(ownXForwarded, "x-forwarded-server"), status: unchanged}

func unchanged(status int) int { return status }

var forwardedXForwarded = forwarded{method: "X-Forwarded-Method", uri: "X-Forwarded-Uri", host: "X-Forwarded-Host"}

// strippedByProxies are the headers that our configurations for these proxies take
// out of what the upstream gets.
var strippedByProxies = []string{"x-api-key", "authorization"}
var ownXForwarded = []string{"x-forwarded-method", "x-forwarded-uri", "x-forwarded-host"}

// forwarded names the headers in which a proxy says what is asked for, in Go's
// canonical form. All other headers are ignored, from any sender.
type forwarded struct {
	method, uri string
	host        string // "": the request's own
}

// read wants each header exactly once: what occurs twice was sent by two.
func (f forwarded) read(asked *authz.Request, r *http.Request) error {
	asked.Host, asked.PathFixed = r.Host, true
	asked.HeadersFixed, asked.Stripped = true, strippedByProxies
	addHeaders(asked, r.Header, false)
	// The proxy's own word, which no upstream gets: a key in it is one in the target.
	asked.Headers = slices.DeleteFunc(asked.Headers, func(h authz.Header) bool {
		return strings.EqualFold(h.Name, f.method) || strings.EqualFold(h.Name, f.uri) || strings.EqualFold(h.Name, f.host)
	})
	for _, h := range []struct {
		name string
		to   *string
	}{{f.method, &asked.Method}, {f.uri, &asked.Path}, {f.host, &asked.Host}} {
		if h.name == "" {
			continue
		}
		lines := r.Header[h.name]
		if len(lines) != 1 || lines[0] == "" {
			return fmt.Errorf("%s occurs %d times, and has to occur once: have the proxy set it", h.name, len(lines))
		}
		*h.to = lines[0]
	}
	return nil
}
