package config

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"extauthz/authz"
	"extauthz/envoy"
)

// foreign lists headers that requests need, or that other programs rely on. An identity
// prefix that covers one of them would remove it.
var foreign = []string{"authorization", "cookie", "content-type", "x-request-id", "x-forwarded-for", "x-original-uri", "x-envoy-original-path", "traceparent"}

// isToken reports whether s is a token of RFC 9110, the form of names of headers, cookies
// and schemes.
func isToken(s string) bool {
	for i := range len(s) {
		c := s[i]
		if (c < '0' || c > '9') && (c|0x20 < 'a' || c|0x20 > 'z') && !strings.ContainsRune("!#$%&'*+-.^_`|~", rune(c)) {
			return false
		}
	}
	return s != ""
}

func lowerToken(s string) bool { return isToken(s) && s == strings.ToLower(s) }

func (v *validator) credentials() {
	if len(v.Credentials) == 0 {
		v.add("credentials", "is empty: name at least one place for a key, such as header: x-api-key")
	}
	seen := map[authz.CredentialSource]int{}
	for i, c := range v.Credentials {
		setting := fmt.Sprintf("credentials[%d]", i)
		set := 0
		for _, name := range []string{c.Header, c.Query, c.Cookie} {
			if name != "" {
				set++
			}
		}
		switch {
		case set != 1:
			v.add(setting, "has %d of header, query and cookie: write exactly one", set)
			continue
		case c.Scheme != "" && c.Header == "":
			v.add(setting+".scheme", "belongs to a header only: remove it")
		case c.Scheme != "" && !isToken(c.Scheme):
			v.add(setting+".scheme", "%q is not a scheme: write one word, such as Bearer, Basic or ApiKey", c.Scheme)
		case c.Header != "" && !lowerToken(c.Header):
			v.add(setting+".header", "%q is not a header name: write it in lower case, without \":\", such as x-api-key", c.Header)
		case c.Header == "cookie":
			v.add(setting+".header", "cookie holds many values: write cookie: NAME instead")
		case c.Header != "" && underPrefix(c.Header, v.Identity.HeaderPrefix):
			v.add(setting+".header", "%s begins with identity.header_prefix %s, which is reserved: choose another name", c.Header, v.Identity.HeaderPrefix)
		case c.Cookie != "" && !isToken(c.Cookie):
			v.add(setting+".cookie", "%q is not a cookie name: write letters, digits, \"-\" and \"_\"", c.Cookie)
		case c.Query != "" && strings.ContainsFunc(c.Query, func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune("&=+%#?", r) }):
			v.add(setting+".query", "%q is not a plain parameter name: write letters, digits, \"-\" and \"_\"", c.Query)
		}
		id := c.source()
		id.Scheme = strings.ToLower(id.Scheme) // schemes are compared case-insensitively
		if first, twice := seen[id]; twice {
			v.add(setting, "is the same as credentials[%d]: remove one", first)
			continue
		}
		seen[id] = i
	}
}

// underPrefix reports whether any upstream, even the least exact, takes header as one
// that begins with prefix.
func underPrefix(header, prefix string) bool {
	return prefix != "" && envoy.FoldsUnder(header, envoy.FoldName(prefix))
}

// keptOverrides checks that headers.keep_overrides names only override headers, and that
// no header that decisions depend on is removed.
func (v *validator) keptOverrides() {
	known, kept := envoy.OverrideHeaders(), map[string]int{}
	for i, name := range v.Headers.KeepOverrides {
		setting := fmt.Sprintf("headers.keep_overrides[%d]", i)
		first, twice := kept[envoy.FoldName(name)]
		switch {
		case !slices.Contains(known, envoy.FoldName(name)):
			hint := "known are " + strings.Join(known, ", ")
			if found, _ := nearest(envoy.FoldName(name), known); found >= 0 {
				hint = "did you mean " + known[found] + "?"
			}
			v.add(setting, "%q is not an override header, which would be removed: %s", name, hint)
		case twice:
			v.add(setting, "%s is the same as headers.keep_overrides[%d]: remove one", name, first)
		default:
			kept[envoy.FoldName(name)] = i
		}
	}
	removed := func(header string) bool {
		_, keep := kept[envoy.FoldName(header)]
		return !keep && slices.Contains(known, envoy.FoldName(header))
	}
	for i, c := range v.Credentials {
		if removed(c.Header) {
			v.add(fmt.Sprintf("credentials[%d].header", i), "%s is an override header, which gateways remove: choose another name, or name it in headers.keep_overrides", c.Header)
		}
	}
	if h := v.ClientAddress.Header; removed(h) {
		v.add("client_address.header", "%s is an override header, which gateways remove: choose another one, or name it in headers.keep_overrides", h)
	}
}

func (v *validator) identity() {
	prefix := v.Identity.HeaderPrefix
	if !lowerToken(prefix) || !strings.HasSuffix(prefix, "-") || strings.Contains(prefix, "_") {
		v.add("identity.header_prefix", "%q: write it in lower case with \"-\" at its end and no \"_\", such as %s", prefix, DefaultIdentityPrefix)
	} else if envoy.PrefixTooLong(prefix) {
		v.add("identity.header_prefix", "%q is longer than Envoy's regular expressions may be: write a shorter one, such as %s", prefix, DefaultIdentityPrefix)
	} else {
		for _, h := range foreign {
			if underPrefix(h, prefix) {
				v.add("identity.header_prefix", "%s covers %s, which would be removed: write a longer one, such as %s", prefix, h, DefaultIdentityPrefix)
			}
		}
		if underPrefix(v.ClientAddress.Header, prefix) {
			v.add("identity.header_prefix", "%s covers client_address.header, which would be removed: write another one", prefix)
		}
	}
	seen := map[string]bool{}
	for i, name := range v.Identity.MetadataHeaders {
		setting := fmt.Sprintf("identity.metadata_headers[%d]", i)
		switch header := envoy.FoldName(name); {
		case !lowerToken(name):
			v.add(setting, "%q can't be part of a header name: write lower-case letters, digits and \"-\"", name)
		case seen[header]:
			v.add(setting, "%s gives the same header as one before: remove one", name)
		default:
			seen[header] = true
		}
	}
}

// deniedCodes returns the public codes of all denials, sorted.
func deniedCodes() []string {
	codes := map[string]bool{}
	for _, r := range authz.Reasons() {
		if r != authz.ReasonGranted && r != authz.ReasonAnonymous {
			codes[r.Code()] = true
		}
	}
	return slices.Sorted(maps.Keys(codes))
}

func (v *validator) denials() {
	const overrides = "denials.overrides"
	codes := deniedCodes()
	for _, code := range slices.Sorted(maps.Keys(v.Denials.Overrides)) {
		setting := join(overrides, code)
		if !slices.Contains(codes, code) {
			hint := "known are " + strings.Join(codes, ", ")
			if found, _ := nearest(code, codes); found >= 0 {
				hint = "did you mean " + codes[found] + "?"
			}
			v.add(setting, "unknown reason code: %s", hint)
			continue
		}
		headers := v.Denials.Overrides[code].Headers
		for _, name := range slices.Sorted(maps.Keys(headers)) {
			if err := envoy.CheckOverrideHeader(name, headers[name]); err != nil {
				v.add(join(setting, "headers."+name), "%v", err)
			}
		}
	}
	if err := envoy.CheckRealm(v.Denials.WWWAuthenticateRealm); err != nil {
		v.add("denials.www_authenticate_realm", "%q: %v", v.Denials.WWWAuthenticateRealm, err)
	}
}

// plainText reports whether s may be sent in a header. Envoy answers 500 to any other
// text.
func plainText(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' })
}
