package config

import (
	"fmt"
	"net"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"time"

	"extauthz/authz"
)

// NotYet lists what this release accepts and checks but does not serve yet: the
// settings, and what is missing. A release that begins to serve one removes its
// line.
func NotYet() map[string]string {
	return map[string]string{
		"telemetry": "traces are not sent",
	}
}

// Warnings returns what is allowed and yet worth a look, one line each: openings
// in the configuration, secret files that everybody can read, and settings that
// have no effect in this release.
func (c *Config) Warnings(now time.Time) []string {
	w := slices.Clone(c.warnings)
	add := func(setting, format string, args ...any) {
		w = append(w, c.origins.of(setting)+": "+setting+": "+fmt.Sprintf(format, args...))
	}
	notYet := NotYet()
	if !loopback(c.Admin.Listen) && !c.Admin.TLS.Enabled() {
		add("admin.listen", "%s can be reached from other machines without TLS, and administrators' keys cross the network in the clear: set admin.tls or listen on 127.0.0.1", c.Admin.Listen)
	}
	if !loopback(c.GRPC.Listen) && c.GRPC.TLS.ClientCAFile == "" {
		add("grpc.listen", "%s can be reached from other machines, and whoever reaches it can test keys: set grpc.tls with client_ca_file, or limit who gets there", c.GRPC.Listen)
	}
	if !loopback(c.HTTP.Listen) && len(c.HTTP.TrustedPeers) == 0 {
		add("http.trusted_peers", "is empty, so that other machines reach %s and are refused there: name the proxies' networks", c.HTTP.Listen)
	}
	for i, r := range c.Routes {
		setting := fmt.Sprintf("routes[%d]", i)
		if r.Anonymous && catchAll(r.Match) {
			add(setting, "%s is anonymous and catches everything: whatever no other rule names needs no key", r.Match)
		}
		if r.Mode != modeShadow {
			continue
		}
		if now.Before(r.Until.Time) {
			add(setting, "%s is in shadow mode until %s: its denials for a missing key, scope, network and route are reported only", r.Match, r.Until)
		} else {
			add(setting, "the trial of %s is over since %s and the rule enforced: remove mode and until", r.Match, r.Until)
		}
	}
	if t, err := c.RouteTable(); err == nil { // else it was refused
		for _, r := range t.Rules() {
			if !r.Anonymous {
				continue
			}
			if losing := t.Opened(r); len(losing) > 0 {
				add(c.settingOf(r), "%s is anonymous and goes before %s, which needs a key (%d rules lose requests to it)", r.Pattern, losing[0].Pattern, len(losing))
			}
		}
	}
	switch until := c.Shadow.Until; {
	case until.IsZero():
	case now.Before(until.Time):
		add("shadow.until", "until %s no request is refused for a missing key, scope, network or route: such refusals are reported only", until)
	default:
		add("shadow.until", "the trial of everything is over since %s, and refusals are enforced: remove it", until)
	}
	for i, credential := range c.Credentials {
		if credential.Query != "" {
			add(fmt.Sprintf("credentials[%d]", i), "keys in a query string end up in access logs and browser histories, and only Envoy's gRPC flavour takes them out of what the upstream gets: prefer a header")
		}
	}
	if c.Identity.ForwardCredential {
		add("identity.forward_credential", "upstreams get the callers' keys")
	}
	if c.ClientAddress.TrustedHops > 0 {
		add("client_address.trusted_hops", "%d: exactly so many proxies must add to %s before the gateway asks, or clients can choose their address", c.ClientAddress.TrustedHops, c.ClientAddress.Header)
	}
	if c.Paths.Repair {
		add("paths.repair", "paths are repaired before they are judged, and passed on as they were judged: let the gateway normalise instead where it can")
	}
	changed := changedSettings(reflect.ValueOf(Defaults()).Elem(), reflect.ValueOf(c).Elem(), "")
	for _, setting := range changed {
		for part := setting; part != ""; part = parent(part) {
			if why, ok := notYet[part]; ok {
				add(setting, "has no effect in this release: %s", why)
			}
		}
	}
	return w
}

// settingOf tells where a rule was written.
func (c *Config) settingOf(r *authz.Rule) string {
	if r.Source != "" {
		return fmt.Sprintf("openapi.files[%d]", slices.Index(c.OpenAPI.Files, r.Source))
	}
	return fmt.Sprintf("routes[%d]", slices.IndexFunc(c.Routes, func(route Route) bool { return route.Match == r.Pattern }))
}

func parent(setting string) string {
	i := strings.LastIndexByte(setting, '.')
	return setting[:max(i, 0)]
}

// loopback tells whether only this machine can reach a listener.
func loopback(listen string) bool {
	network, address, err := ListenAddress(listen)
	if err != nil || network == "unix" {
		return err == nil
	}
	host, _, _ := net.SplitHostPort(address)
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// catchAll tells whether a pattern matches every path of its host.
func catchAll(match string) bool {
	if method, rest, ok := strings.Cut(match, " "); ok && !strings.Contains(method, "/") {
		match = strings.TrimLeft(rest, " ")
	}
	_, path, _ := strings.Cut(match, "/")
	return path == "" || strings.HasPrefix(path, "{") && strings.HasSuffix(path, "...}") && !strings.Contains(path, "/")
}
