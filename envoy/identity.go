package envoy

import (
	"sort"
	"strings"

	"extauthz/authz"
)

// identityNames are what stands behind the prefix; metadata headers come beside.
var identityNames = []string{"key-id", "key-prefix", "user-id", "key-name", "scopes", "environment"}

// maxIdentityValue is the longest value of an identity header in bytes: what
// common upstreams take of one header. A longer one is left out, never cut: half
// a list of scopes is another list.
const maxIdentityValue = 8 << 10

// identity returns what the upstream is told of the key: name to value, all of
// them safe header values, whatever stands in the record. On anonymous routes it
// is empty.
func (e *encoder) identity(d *authz.Decision) map[string]string {
	r := d.Record
	if r == nil {
		return nil
	}
	out := map[string]string{
		"key-id":      r.ID,
		"key-prefix":  r.Prefix,
		"user-id":     r.UserID,
		"key-name":    r.Name,
		"scopes":      strings.Join(d.Scopes.Strings(), " "),
		"environment": r.Environment,
	}
	for _, name := range e.metadata {
		out["meta-"+name] = r.Metadata[name]
	}
	for name, value := range out {
		if out[name] = headerText(value); len(out[name]) > maxIdentityValue {
			out[name] = ""
		}
	}
	return out
}

// headerText percent-encodes what is not printable ASCII, and "%" itself, so
// that it can be read back and no value can break a header.
func headerText(s string) string {
	const hex = "0123456789ABCDEF"
	plain := true
	for i := range len(s) {
		if s[i] < ' ' || s[i] >= 0x7f || s[i] == '%' {
			plain = false
			break
		}
	}
	if plain {
		return s
	}
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; c < ' ' || c >= 0x7f || c == '%' {
			b.Write([]byte{'%', hex[c>>4], hex[c&15]})
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

// prefixed tells whether a name is under the identity prefix, with "_" read as "-"
// as CGI upstreams do.
func (e *encoder) prefixed(name string) bool {
	return strings.HasPrefix(strings.ReplaceAll(name, "_", "-"), e.prefix)
}

// removals returns every name under the identity prefix that is not set: the
// complete configured set, seen or not (the gateway may hide headers from us),
// and what the client sent.
func (e *encoder) removals(r *authz.Request, set map[string]string) []string {
	gone := map[string]bool{}
	for _, name := range e.names {
		gone[name] = true
	}
	for i := range r.Headers {
		if name := r.Headers[i].Name; e.prefixed(name) && validName(name) {
			gone[name] = true
		}
	}
	out := make([]string, 0, len(gone))
	for name := range gone {
		if set[name] == "" {
			out = append(out, name)
		}
	}
	sort.Strings(out)
	return out
}

// validName tells whether a name is a lower-case HTTP token.
func validName(name string) bool {
	for i := range len(name) {
		c := name[i]
		if c <= ' ' || c >= 0x7f || c >= 'A' && c <= 'Z' || strings.IndexByte(`"(),/:;<=>?@[\]{}`, c) >= 0 {
			return false
		}
	}
	return name != ""
}
