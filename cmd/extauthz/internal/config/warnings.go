package config

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"extauthz/authz"
	"extauthz/envoy"
)

// Warnings returns a line for each setting that is allowed but questionable: one that
// opens access, a secret's file that every user can read, or a probable mistake.
func (c *Config) Warnings(now time.Time) []string {
	w := slices.Clone(c.warnings)
	add := func(setting, format string, args ...any) {
		w = append(w, c.origins.of(setting)+": "+setting+": "+fmt.Sprintf(format, args...))
	}
	if !loopback(c.Admin.Listen) && !c.Admin.TLS.Enabled() {
		add("admin.listen", "%s can be reached from other machines without TLS, and administrators' keys cross the network in the clear: set admin.tls or listen on 127.0.0.1", c.Admin.Listen)
	}
	if !loopback(c.GRPC.Listen) && c.GRPC.TLS.ClientCAFile == "" {
		add("grpc.listen", "%s can be reached from other machines, and every client that reaches it can test keys: set grpc.tls with client_ca_file, or restrict access by a firewall or network policy", c.GRPC.Listen)
	}
	if !loopback(c.HTTP.Listen) && len(c.HTTP.TrustedPeers) == 0 {
		add("http.trusted_peers", "is empty, so that requests to %s from other machines are refused: list the proxies' networks", c.HTTP.Listen)
	}
	for i, r := range c.Routes {
		setting := fmt.Sprintf("routes[%d]", i)
		if strings.Contains(r.Match, "*") {
			add(setting, "%s holds \"*\", which matches only itself: write {name} for a segment, or {name...} for the rest of the path", r.Match)
		}
		if r.Mode != modeShadow {
			continue
		}
		if now.Before(r.Until.Time) {
			add(setting, "%s is in shadow mode until %s: its denials for a missing key, scope, network, route and project are only reported", r.Match, r.Until)
		} else {
			add(setting, "shadow mode of %s ended at %s, and the rule is enforced: remove mode and until", r.Match, r.Until)
		}
	}
	if t, err := c.RouteTable(); err == nil { // otherwise the rules were refused
		for _, r := range t.Rules() {
			if !r.Anonymous {
				continue
			}
			if r.CatchAll() {
				add(c.settingOf(r), "%s is anonymous and matches everything: requests that match no other rule need no key", r.Pattern)
			}
			if losing := t.Opened(r); len(losing) > 0 {
				add(c.settingOf(r), "%s is anonymous and takes precedence over %s, which needs a key (%d rules lose requests to it)", r.Pattern, losing[0].Pattern, len(losing))
			}
		}
	}
	c.besideRules(add)
	switch until := c.Shadow.Until; {
	case until.IsZero():
	case now.Before(until.Time):
		add("shadow.until", "until %s no request is denied for a missing key, scope, network, route or project: such denials are only reported", until)
	default:
		add("shadow.until", "shadow mode for all requests ended at %s, and denials are enforced: remove it", until)
	}
	for i, credential := range c.Credentials {
		if strings.Contains(credential.Header, "_") {
			add(fmt.Sprintf("credentials[%d]", i), "the printed configurations refuse or drop headers with \"_\" in their names, such as %s: choose a name without", credential.Header)
		}
		if credential.Query != "" {
			add(fmt.Sprintf("credentials[%d]", i), "keys in a query string end up in access logs and browser histories, and only Envoy's gRPC flavour removes them before the upstream: prefer a header")
		}
	}
	if c.Identity.ForwardCredential {
		add("identity.forward_credential", "upstreams get the callers' keys")
	}
	for i, name := range c.Headers.KeepOverrides {
		add(fmt.Sprintf("headers.keep_overrides[%d]", i), "clients may send %s to the upstream: an upstream that uses it serves another method, path or host than was authorized", envoy.FoldName(name))
	}
	if c.ClientAddress.TrustedHops > 0 {
		add("client_address.trusted_hops", "%d: exactly this many proxies must append to %s before the gateway calls, or clients can choose their address", c.ClientAddress.TrustedHops, c.ClientAddress.Header)
	}
	if c.Paths.Encoded == encodedAllow {
		add("paths.encoded", "encoded characters and parameters are data in every path that no rule matches: the upstreams must treat them as data too")
	}
	if c.Paths.Repair {
		add("paths.repair", "paths are repaired before the decision, and passed on repaired: prefer normalisation in the gateway where it can")
	}
	if u, err := url.Parse(c.Telemetry.OTLPEndpoint); err == nil && u.Port() == "4318" {
		add("telemetry.otlp_endpoint", "port 4318 is usually OTLP over HTTP, and spans are sent over gRPC: collectors receive that on port 4317")
	}
	return w
}

// settingOf returns the setting that contains a rule.
func (c *Config) settingOf(r *authz.Rule) string {
	if r.Source != "" {
		return fmt.Sprintf("openapi.files[%d]", slices.Index(c.OpenAPI.Files, r.Source))
	}
	return fmt.Sprintf("routes[%d]", slices.IndexFunc(c.Routes, func(route Route) bool { return route.Match == r.Pattern }))
}

// loopback reports whether only this machine can reach a listener.
func loopback(listen string) bool {
	network, address, err := ListenAddress(listen)
	if err != nil || network == "unix" {
		return err == nil
	}
	host, _, _ := net.SplitHostPort(address)
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}
