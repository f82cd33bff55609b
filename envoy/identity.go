package envoy

import (
	"slices"
	"strings"

	"extauthz/authz"
)

// identityHeader is one of the headers that describe the key to the upstream.
type identityHeader struct {
	name  string
	field identityField
	entry string // for identityMetadata: the entry of the key's metadata
}

type identityField uint8

const (
	identityKeyID identityField = iota
	identityPrefix
	identityUserID
	identityName
	identityScopes
	identityEnvironment
	identityProject
	identityMetadata
)

// identityNames maps the part of a header's name that follows the prefix to its field.
// Headers for metadata come in addition.
var identityNames = map[string]identityField{"key-id": identityKeyID, "key-prefix": identityPrefix, "user-id": identityUserID,
	"key-name": identityName, "scopes": identityScopes, "environment": identityEnvironment, "project": identityProject}

// maxIdentityValue is the maximum size in bytes of an identity header's value, which
// common upstreams accept in one header. A longer value is left out, never cut: half a
// list of scopes is another list.
const maxIdentityValue = 8 << 10

// identityHeaders returns the complete set, sorted by name.
func identityHeaders(prefix string, metadata []string) []identityHeader {
	var all []identityHeader
	for name, field := range identityNames {
		all = append(all, identityHeader{name: prefix + name, field: field})
	}
	for _, name := range metadata {
		all = append(all, identityHeader{prefix + "meta-" + name, identityMetadata, name})
	}
	slices.SortFunc(all, func(a, b identityHeader) int { return strings.Compare(a.name, b.name) })
	return slices.CompactFunc(all, func(a, b identityHeader) bool { return a.name == b.name })
}

// IdentityHeaders returns the names of all identity headers, sorted. All begin with
// prefix. metadata names the entries of a key's metadata that have a header.
func IdentityHeaders(prefix string, metadata []string) (names []string) {
	for _, h := range identityHeaders(prefix, metadata) {
		names = append(names, h.name)
	}
	return names
}

// identify sets the identity headers for the key, with values that are safe whatever the
// record contains. It removes all other headers of the set, even if the request seems to
// lack them: the gateway may hide headers from this service. On anonymous routes it
// removes the whole set.
func (e *encoder) identify(a *answer, d *authz.Decision) {
	for i := range e.identity {
		h := &e.identity[i]
		value := ""
		if d.Record != nil {
			if value = a.identity(h, d); h.field < identityMetadata {
				a.sent[h.field] = value
			}
		}
		if value == "" || len(value) > maxIdentityValue { // some upstreams treat an empty header as absent
			a.remove = append(a.remove, h.name)
		} else {
			a.set(h.name, value)
		}
	}
}

func (a *answer) identity(h *identityHeader, d *authz.Decision) string {
	r := d.Record
	switch h.field {
	case identityKeyID:
		return a.headerText(r.ID)
	case identityPrefix:
		return a.headerText(r.Prefix)
	case identityUserID:
		return a.headerText(r.UserID)
	case identityName:
		return a.headerText(r.Name)
	case identityScopes:
		return a.scopes(d.Scopes)
	case identityEnvironment:
		return a.headerText(r.Environment)
	case identityProject:
		return a.headerText(r.Project)
	default:
		return a.headerText(r.Metadata[h.entry])
	}
}

// removeOthers removes the headers that the client sent but may not send on, except the
// identity headers, which are already set or removed. A request with a name that can't be
// removed was refused before (unremovable).
func (e *encoder) removeOthers(a *answer, r *authz.Request) {
	var gone places
	for i := range r.Headers {
		name := r.Headers[i].Name
		if e.own.claim(name) && ValidHeaderName(name) && !named(a.headers, name) && gone.find(a.remove, name) < 0 {
			a.remove = append(a.remove, name)
			gone.add(a.remove)
		}
	}
}

// unremovable reports whether a request carries a header that must not reach the
// upstream, but that Envoy can't remove because its name is not a token. Such a header
// has a name that no client may send on, or its value holds a key.
func (e *encoder) unremovable(r *authz.Request) bool {
	for i := range r.Headers {
		h := &r.Headers[i]
		if name := h.Name; !ValidHeaderName(name) && name != "" && name[0] != ':' && (e.own.claim(name) || !e.config.ForwardCredential && e.holds(h.Value)) {
			return true
		}
	}
	return false
}

// plainText reports whether s is printable ASCII without "%".
func plainText(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] >= 0x7f || s[i] == '%' {
			return false
		}
	}
	return true
}

// blankEdge reports whether s begins or ends with a space. A reader of the header removes
// such a space, so that another value would arrive.
func blankEdge(s string) bool {
	return s != "" && (s[0] == ' ' || s[len(s)-1] == ' ')
}

func appendHeaderText(b []byte, s string) []byte {
	const hex = "0123456789ABCDEF"
	for i := range len(s) {
		if c := s[i]; c < ' ' || c >= 0x7f || c == '%' || c == ' ' && (i == 0 || i == len(s)-1) {
			b = append(b, '%', hex[c>>4], hex[c&15])
		} else {
			b = append(b, c)
		}
	}
	return b
}

// ValidHeaderName reports whether a name is a lower-case HTTP token.
func ValidHeaderName(name string) bool {
	for i := range len(name) {
		if !lowerToken[name[i]] {
			return false
		}
	}
	return name != ""
}

// lowerToken marks the bytes that a lower-case token may have (RFC 9110, 5.6.2).
var lowerToken = func() (token [256]bool) {
	for c := byte('!'); c < 0x7f; c++ {
		token[c] = (c < 'A' || c > 'Z') && strings.IndexByte(`"(),/:;<=>?@[\]{}`, c) < 0
	}
	return token
}()
