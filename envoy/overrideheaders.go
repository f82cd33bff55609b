package envoy

import (
	"fmt"
	"slices"
	"unicode/utf8"
)

// overrideHeaders are the headers by which upstreams let a client replace what was
// judged: the method, the path or the host. They are removed from what clients send,
// except those that an operator keeps. The names are folded, and in groups by what they
// replace. A group becomes one regular expression, whose size Envoy limits, so names that
// begin alike are next to one another.
var overrideHeaders = [][]string{
	// The method: Rack, Symfony, Laravel, Express, ASP.NET Core, Jersey, grpc-gateway;
	// OData; IBM; what nginx, Caddy and Traefik set for forward-auth.
	{"x-http-method-override", "x-http-method", "x-method-override", "x-original-method", "x-forwarded-method"},
	// The path: IIS and what imitates it (Symfony, Laminas, Yii); proxies' own names for it.
	{"x-original-url", "x-original-uri", "x-rewrite-url", "x-replaced-path", "x-forwarded-uri", "x-forwarded-path", "x-envoy-original-path"},
	// The part of the path that an application is mounted at: Spring, Werkzeug, ASP.NET
	// Core; NiFi; Plack; Flask; Zope; gunicorn.
	{"x-forwarded-prefix", "x-forwarded-context", "x-forwarded-script-name", "x-script-name", "x-proxycontextpath", "x-vhm-root"},
	{"x-traversal-path", "script-name", "path-info"},
	// The host, by which rules are chosen: Rack, Rails, Symfony, Spring, Express, ASP.NET
	// Core, Django; PasteDeploy; Yii; RFC 7239 (host=, proto=).
	{"x-forwarded-host", "x-forwarded-server", "x-original-host", "forwarded"},
	// More of the host and the path: Joomla and Drupal modules; Laminas; IIS on Azure;
	// Next.js.
	{"x-http-host-override", "x-host", "x-override-url", "x-waws-unencoded-url", "x-matched-path"},
	// The file that is sent instead of an answer: Rack::Sendfile. The mark of a request
	// that Envoy let in without a decision (failure_mode_allow).
	{"x-sendfile-type", "x-accel-mapping", "x-envoy-auth-failure-mode-allowed"},
}

// OverrideHeaderGroups returns the names of OverrideHeaders in groups by what they
// replace. A gateway that accepts only some of them gets the first ones of this order.
func OverrideHeaderGroups() [][]string { return cloneGroups(overrideHeaders) }

// PathOverrideHeaders returns those of OverrideHeaders that replace the path or a part of it.
func PathOverrideHeaders() []string { return slices.Concat(overrideHeaders[1:4]...) }

// cloneGroups copies the groups, so that no caller changes the list.
func cloneGroups(groups [][]string) [][]string {
	copies := make([][]string, len(groups))
	for i, group := range groups {
		copies[i] = slices.Clone(group)
	}
	return copies
}

// OverrideHeaders returns the names, folded and sorted, of the headers by which
// upstreams let a client replace method, path or host after they were judged.
func OverrideHeaders() []string {
	return slices.Sorted(slices.Values(slices.Concat(overrideHeaders...)))
}

// ownNames defines the names that no client may send on: those that fold to a name under
// the identity prefix, or to an override header that is not kept.
type ownNames struct {
	prefix    string   // of identity headers, folded
	gateway   string   // prefix behind grpcGatewayPrefix, folded: grpc-gateway turns such a header into metadata under prefix
	overrides []string // folded
	// The first byte, the last byte and the length rule most names out:
	begins  [utf8.RuneSelf]bool   // by first byte, as sent: a claimed name folds to one that begins so
	lengths [utf8.RuneSelf]uint64 // by last byte, folded; bit n: an override header that ends so has n bytes
}

func newOwnNames(prefix string, kept []string) (ownNames, error) {
	n := ownNames{prefix: FoldName(prefix), gateway: grpcGatewayPrefix + FoldName(prefix)}
	known := slices.Concat(overrideHeaders...)
	for _, name := range kept {
		if !slices.Contains(known, FoldName(name)) {
			return n, fmt.Errorf("kept override header %q: there is none of this name", name)
		}
	}
	for _, name := range known {
		if !slices.ContainsFunc(kept, func(k string) bool { return FoldName(k) == name }) {
			n.overrides = append(n.overrides, name)
			n.lengths[name[len(name)-1]] |= 1 << min(len(name), longName)
		}
	}
	claimed := append([]string{n.prefix, n.gateway}, n.overrides...)
	for c := range n.begins {
		n.begins[c] = slices.ContainsFunc(claimed, func(name string) bool { return name == "" || name[0] == folded[c] })
	}
	return n, nil
}

// claim reports whether the name is one that no client may send on.
func (n *ownNames) claim(name string) bool {
	if name == "" || name[0] < utf8.RuneSelf && !n.begins[name[0]] {
		return false
	}
	return n.identity(name) || n.override(name) != ""
}

// identity reports whether upstreams may take a header of this name for one of the
// identity headers.
func (n *ownNames) identity(name string) bool {
	return FoldsUnder(name, n.prefix) || FoldsUnder(name, n.gateway)
}

// grpcGatewayPrefix is removed by grpc-gateway, which turns the rest of the name into a
// name of gRPC metadata.
const grpcGatewayPrefix = "grpc-metadata-"

// override returns which of the override headers a name folds to; "" for none. It
// does not allocate for names in ASCII.
func (n *ownNames) override(name string) string {
	if name == "" {
		return ""
	}
	if last := name[len(name)-1]; last < utf8.RuneSelf && n.lengths[folded[last]]>>min(len(name), longName)&1 == 0 && ascii(name) {
		return ""
	}
	if !ascii(name) {
		name = FoldName(name)
	}
	for _, o := range n.overrides {
		if len(o) == len(name) && FoldsUnder(name, o) {
			return o
		}
	}
	return ""
}

func ascii(name string) bool {
	var all byte
	for i := range len(name) {
		all |= name[i]
	}
	return all < utf8.RuneSelf
}

// RemovedExpressions returns regular expressions for the names, in lower case, that a
// gateway has to remove from what clients send: names under the identity prefix, and
// override headers except those that are kept. The first expression is for the prefix. It
// fails for a kept name that is no override header.
func RemovedExpressions(prefix string, kept []string) ([]string, error) {
	own, err := newOwnNames(prefix, kept)
	if err != nil {
		return nil, err
	}
	expressions := []string{prefixExpression(own.prefix), prefixExpression(own.gateway)}
	for _, group := range overrideHeaders {
		names := slices.DeleteFunc(slices.Clone(group), func(name string) bool { return !slices.Contains(own.overrides, name) })
		if len(names) > 0 {
			expressions = append(expressions, namesExpression(names))
		}
	}
	return expressions, nil
}
