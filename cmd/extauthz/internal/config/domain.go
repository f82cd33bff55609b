package config

import (
	"net/netip"
	"slices"

	"extauthz/authz"
	"extauthz/envoy"
)

const (
	modeShadow    = "shadow"
	encodedAllow  = "allow"
	encodedRefuse = "refuse"
)

// KeyFormat returns the form of keys.
func (c *Config) KeyFormat() (*authz.KeyFormat, error) {
	return authz.NewKeyFormat(authz.KeyFormatConfig{Brand: c.Keys.Brand, Environments: c.Keys.Environments})
}

// RouteTable returns the compiled rules, including those of the OpenAPI documents, as
// they were when the configuration was loaded.
func (c *Config) RouteTable() (*authz.RouteTable, error) {
	if c.table != nil {
		return c.table, nil
	}
	configs := make([]authz.RouteConfig, 0, len(c.Routes)+len(c.described))
	for _, r := range c.Routes {
		configs = append(configs, r.config())
	}
	return authz.NewRouteTable(append(configs, c.described...))
}

func (r Route) config() authz.RouteConfig {
	return authz.RouteConfig{
		Match: r.Match, Resource: r.Resource, Action: r.Action, Anonymous: r.Anonymous, Project: r.Project,
		Shadow: r.Mode == modeShadow, Until: r.Until.Time, Encoded: r.Encoded == encodedAllow,
	}
}

// GatewayRoutes returns what is trusted of the gateway's route metadata.
func (c *Config) GatewayRoutes() authz.RouteMetadata {
	m := authz.RouteMetadata{Enabled: c.RouteMetadata.Enabled, AllowAnonymous: c.RouteMetadata.AllowAnonymous, Namespaces: c.RouteMetadata.Namespaces}
	for _, r := range c.RouteMetadata.Routes {
		if m.Routes == nil {
			m.Routes = make(map[string]authz.NamedRoute)
		}
		m.Routes[r.Route] = authz.NamedRoute{Resource: r.Resource, Action: r.Action, Anonymous: r.Anonymous}
	}
	return m
}

// DefaultMap returns the mapping that default_route map uses.
func (c *Config) DefaultMap() (*authz.DefaultMap, error) {
	return authz.NewDefaultMap(c.Mapping.StripPrefixes)
}

// PathPolicy returns the rules about which paths and queries are accepted.
func (c *Config) PathPolicy() authz.PathPolicy {
	return authz.PathPolicy{Repair: c.Paths.Repair, Encoded: c.Paths.Encoded == encodedAllow,
		MaxPath: c.Paths.MaxPathBytes, MaxQuery: c.Paths.MaxQueryBytes}
}

// TakesEncodedPaths reports whether a rule, or the policy for requests without a rule,
// accepts encoded characters in paths as data. The gateway then has to pass them on.
func (c *Config) TakesEncodedPaths() bool {
	return c.Paths.Encoded == encodedAllow || slices.ContainsFunc(c.Routes, func(r Route) bool { return r.Encoded == encodedAllow }) ||
		slices.ContainsFunc(c.described, func(r authz.RouteConfig) bool { return r.Encoded })
}

// TrustedPeers returns the networks of the proxies whose HTTP requests are answered.
func (c *Config) TrustedPeers() ([]netip.Prefix, error) { return authz.ParseCIDRs(c.HTTP.TrustedPeers) }

// CredentialSources returns the places where requests may carry a key, in the configured
// order.
func (c *Config) CredentialSources() []authz.CredentialSource {
	sources := make([]authz.CredentialSource, 0, len(c.Credentials))
	for _, credential := range c.Credentials {
		sources = append(sources, credential.source())
	}
	return sources
}

func (c Credential) source() authz.CredentialSource {
	switch {
	case c.Query != "":
		return authz.CredentialSource{Kind: authz.SourceQuery, Name: c.Query}
	case c.Cookie != "":
		return authz.CredentialSource{Kind: authz.SourceCookie, Name: c.Cookie}
	default:
		return authz.CredentialSource{Kind: authz.SourceHeader, Name: c.Header, Scheme: c.Scheme}
	}
}

// AllowedHeaders returns the request headers that must reach this service, sorted, for
// gateways that send only listed ones (Envoy's allowed_headers, Envoy Gateway's
// headersToExtAuth). An entry that ends in "*" is a prefix. Without the headers of the
// credentials, every request seems to have no key. Without the identity prefix, headers
// that a client invents under it reach the upstream.
func AllowedHeaders(c *Config) []string {
	address := authz.ClientAddress{TrustedHops: c.ClientAddress.TrustedHops, Header: c.ClientAddress.Header}
	names := append(authz.DecisionHeaders(c.CredentialSources(), address, c.CORS.AllowPreflights), c.Identity.HeaderPrefix+"*")
	names = append(names, envoy.AnswerHeaders()...)
	slices.Sort(names)
	return slices.Compact(names)
}
