package envoy

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"extauthz/authz"
)

// nginxDialect is for nginx's auth_request. It treats 401 and 403 as denials, and any
// other status except 2xx as an error, for which the client gets 500. The operator's
// configuration sets X-Original-Method, X-Original-URI and Host.
var nginxDialect = dialect{
	read: forwarded{method: "X-Original-Method", uri: "X-Original-Uri"}.read,
	own:  []string{"x-original-method", "x-original-uri"},
	status: func(status int) int {
		if status == http.StatusUnauthorized || status >= 500 {
			return status
		}
		return http.StatusForbidden
	}}

// gatewayFabricDialect is for auth_request as NGINX Gateway Fabric configures it for the
// ExternalAuth filter of the Gateway API. It sets Method, Path and Host, and copies
// listed headers of the client.
var gatewayFabricDialect = dialect{read: forwarded{method: "Method", uri: "Path"}.read, status: nginxDialect.status}

// caddyDialect is for Caddy's forward_auth. Until 2.9, if a header to copy is absent,
// Caddy passes on the text of the placeholder for it. So answers have all these headers.
var caddyDialect = dialect{read: forwardedXForwarded.read, own: ownXForwarded, status: unchanged, blanks: true}

// traefikDialect is for Traefik's ForwardAuth. Traefik removes the headers to copy from
// the request before it copies them from the answer. It would pass empty ones on, so
// answers have none. It names itself in X-Forwarded-Server.
var traefikDialect = dialect{read: forwardedXForwarded.read, own: append(ownXForwarded, "x-forwarded-server"), status: unchanged}

func unchanged(status int) int { return status }

var forwardedXForwarded = forwarded{method: "X-Forwarded-Method", uri: "X-Forwarded-Uri", host: "X-Forwarded-Host"}

// strippedByProxies lists the headers that our configurations for these proxies remove
// from requests to the upstream.
var strippedByProxies = []string{"x-api-key", "authorization"}
var ownXForwarded = []string{"x-forwarded-method", "x-forwarded-uri", "x-forwarded-host"}

// forwarded names the headers, in Go's canonical form, in which a proxy describes the
// request. Any other header that might describe it is ignored.
type forwarded struct {
	method, uri string
	host        string // "": the request's own
}

// read requires each of these headers exactly once: if one occurs twice, the client may
// have sent one of the two.
func (f forwarded) read(asked *authz.Request, r *http.Request) error {
	asked.Host, asked.PathFixed = r.Host, true
	asked.HeadersFixed, asked.Stripped = true, strippedByProxies
	addHeaders(asked, r.Header, false)
	// These headers are the proxy's own, and no upstream gets them. A key in one of them
	// is a key in the target.
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
