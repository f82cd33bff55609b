package authz

import (
	"encoding/base64"
	"slices"
	"strings"
	"unsafe"
)

// SourceKind names the part of a request that is searched for a credential.
type SourceKind uint8

// The parts of a request that can hold a credential. The last three can't be configured
// as a source; a key may nevertheless be found there.
const (
	SourceHeader SourceKind = iota + 1
	SourceQuery
	SourceCookie
	SourcePath
	SourceHost
	SourceMethod
)

// CredentialSource is one configured place for a credential.
type CredentialSource struct {
	Kind   SourceKind
	Name   string // header (lower case), query parameter or cookie; the latter two are case-sensitive
	Scheme string // of a header, such as "Bearer": compared without case; "" where the value is the key alone
}

// String returns the source as people write it: "header x-api-key", "header
// authorization (Bearer)", "query api_key", "cookie session".
func (s CredentialSource) String() string {
	text := ""
	switch s.Kind {
	case SourceQuery:
		text = "query"
	case SourceCookie:
		text = "cookie"
	case SourcePath:
		text = "path"
	case SourceHost:
		text = "host"
	case SourceMethod:
		text = "method"
	default:
		text = "header"
	}
	if s.Name != "" {
		text += " " + s.Name
	}
	if s.Scheme != "" {
		text += " (" + s.Scheme + ")"
	}
	return text
}

// basic reports whether the source holds user and password, of which one is the key.
func (s CredentialSource) basic() bool { return strings.EqualFold(s.Scheme, basicScheme) }

// FoundCredential names the part of a request where one of this service's keys was seen.
// It never holds the key itself. A query or cookie source without a name stands for each
// parameter or cookie that holds a whole key.
type FoundCredential struct {
	Source CredentialSource
}

// credentials holds what the sources yield for one request. Only values that begin like
// this service's keys are counted. Any other value, such as a token under Bearer, belongs
// to another party and is passed on.
type credentials struct {
	request *Request
	format  *KeyFormat

	count     int
	value     string
	ambiguous bool             // a line may hold several values, a line is damaged, or a name occurs twice
	foreign   bool             // a source had a value that does not begin like a key of this service
	garbage   bool             // such a value was in a source without a scheme, where only a key can be
	source    CredentialSource // the source that is being searched
	found     []FoundCredential
}

// findCredentials searches every source, also after it has found a key. Two keys are
// refused, even if they are equal, since a gateway and an upstream could each read a
// different one. A key under a name that occurs twice is refused too, whatever the other
// value is, since parties differ in which value they use.
func (a *Authorizer) findCredentials(r *Request, query string) credentials {
	c := credentials{request: r, format: a.Format, found: r.found[:0]}
	for _, s := range a.sources {
		before, values := c.count, 0
		c.source = s
		switch s.Kind {
		case SourceHeader:
			for i := range r.Headers {
				if h := &r.Headers[i]; h.Name == s.Name {
					c.header(s, h)
					values++
				}
			}
		case SourceQuery:
			values = c.query(s.Name, query)
		case SourceCookie:
			for i := range r.Headers {
				if h := &r.Headers[i]; h.Name == "cookie" {
					values += c.cookie(s.Name, h)
				}
			}
		}
		if c.count > before {
			c.found = append(c.found, FoundCredential{Source: s})
			c.ambiguous = c.ambiguous || values > 1
		}
	}
	r.found = c.found
	return c
}

// add records the value of a source.
func (c *credentials) add(value string) {
	if !c.format.Mentions(value) {
		c.addForeign()
		return
	}
	c.count++
	c.value = value
}

func (c *credentials) addForeign() {
	c.foreign = true
	c.garbage = c.garbage || c.source.Scheme == ""
}

// addLine records the value of a header or cookie. A value that may be joined from
// several lines, or damaged, counts as another party's only if it can't hold one of this
// service's keys.
func (c *credentials) addLine(value string, sanitised bool) {
	if !joinedOrDamaged(value, sanitised) {
		c.add(value)
		return
	}
	if !c.mayHold(value) {
		c.addForeign()
		return
	}
	c.count++
	c.ambiguous = true
}

func (c *credentials) header(s CredentialSource, h *Header) {
	value := strings.Trim(h.Value, " \t")
	if s.Scheme == "" {
		c.addLine(value, h.Sanitised)
		return
	}
	scheme, rest, _ := strings.Cut(value, " ")
	if !strings.EqualFold(scheme, s.Scheme) {
		// "Basic …,Bearer …": joined lines, one of which may hold this service's key.
		if mentionsScheme(value, s.Scheme) && c.mayHold(value) {
			c.count++
			c.ambiguous = true
		}
		return
	}
	rest = strings.TrimLeft(rest, " ")
	if s.basic() && !joinedOrDamaged(rest, h.Sanitised) {
		c.basic(rest)
		return
	}
	c.addLine(rest, h.Sanitised)
}

// basic records the decoded value of the scheme Basic. The key is the user or the
// password; the other of the two may be anything but a key.
func (c *credentials) basic(encoded string) {
	user, password, ok := c.request.decodeBasic(encoded)
	switch {
	case !ok:
		c.addForeign()
	case c.format.Mentions(user) && c.format.Mentions(password):
		c.count += 2
	case c.format.Mentions(password):
		c.add(password)
	default:
		c.add(user)
	}
}

// maxBasic is the length, in bytes of base64, up to which a value of the scheme Basic is
// decoded. It is enough for a key and a long user or password next to it.
const maxBasic = 1 << 10

// decodeBasic returns user and password. Both use memory of the Request.
func (r *Request) decodeBasic(encoded string) (user, password string, ok bool) {
	encoded = strings.TrimSuffix(strings.TrimSuffix(encoded, "="), "=")
	if encoded == "" || len(encoded) > maxBasic || strings.ContainsAny(encoded, "\r\n") { // Go's decoder would skip these
		return "", "", false
	}
	size := base64.RawStdEncoding.DecodedLen(len(encoded))
	start := len(r.decoded)
	r.decoded = slices.Grow(r.decoded, size)[:start+size]
	if _, err := base64.RawStdEncoding.Decode(r.decoded[start:], unsafe.Slice(unsafe.StringData(encoded), len(encoded))); err != nil { // it only reads
		return "", "", false
	}
	user, password, _ = strings.Cut(unsafe.String(unsafe.SliceData(r.decoded[start:]), size), ":")
	return user, password, true
}

// mayHold reports whether a value may hold one of this service's keys, under any scheme.
// It is for values that may be joined from several lines or may lack bytes.
func (c *credentials) mayHold(value string) bool {
	for _, head := range c.format.heads {
		if strings.Contains(value, head) {
			return true
		}
	}
	for part := range strings.SplitSeq(value, ",") {
		part = strings.Trim(part, " \t")
		first, rest, _ := strings.Cut(part, " ")
		if c.format.Mentions(first) || c.format.Mentions(strings.TrimLeft(rest, " ")) {
			return true
		}
		if strings.EqualFold(first, basicScheme) {
			if user, password, ok := c.request.decodeBasic(strings.TrimLeft(rest, " ")); ok && (c.format.Mentions(user) || c.format.Mentions(password)) {
				return true
			}
		}
	}
	return c.format.holdsInBasic(value)
}

// joinedOrDamaged reports whether a value may be joined from several lines, or may lack
// bytes. Envoy joins lines of authorization with ",", in its raw form too. In a sanitised
// value, "!" stands for a byte that is not UTF-8.
func joinedOrDamaged(value string, sanitised bool) bool {
	for i := range len(value) {
		if value[i] == ',' || sanitised && value[i] == '!' {
			return true
		}
	}
	return false
}

// mentionsScheme reports whether one of the comma-separated parts of a joined
// header begins with the scheme.
func mentionsScheme(value, scheme string) bool {
	for part := range strings.SplitSeq(value, ",") {
		first, _, _ := strings.Cut(strings.TrimLeft(part, " \t"), " ")
		if strings.EqualFold(first, scheme) {
			return true
		}
	}
	return false
}

// query returns how often the parameter occurs.
func (c *credentials) query(name, query string) (values int) {
	for pair := range strings.SplitSeq(query, "&") {
		key, value, _ := strings.Cut(pair, "=")
		if !equalsDecoded(key, name) {
			continue
		}
		// A key is made of letters, digits and "_", none of which needs
		// encoding, so an encoded value is left as it is and fails the format.
		c.add(value)
		values++
	}
	return values
}

// cookie returns how often the cookie occurs in a line.
func (c *credentials) cookie(name string, h *Header) (values int) {
	for pair := range strings.SplitSeq(h.Value, ";") {
		key, value, ok := strings.Cut(strings.Trim(pair, " \t"), "=")
		if !ok || key != name {
			continue
		}
		c.addLine(value, h.Sanitised)
		values++
	}
	return values
}

// equalsDecoded compares a query parameter's raw name with a plain one, reading
// %XX and "+" as upstreams do.
func equalsDecoded(raw, plain string) bool {
	i := 0
	for j := 0; j < len(raw); j++ {
		b := raw[j]
		switch {
		case b == '+':
			b = ' '
		case b == '%' && j+2 < len(raw):
			hi, lo := unhex(raw[j+1]), unhex(raw[j+2])
			if hi >= 0 && lo >= 0 {
				b = byte(hi<<4 | lo)
				j += 2
			}
		}
		if i >= len(plain) || plain[i] != b {
			return false
		}
		i++
	}
	return i == len(plain)
}

func unhex(b byte) int {
	switch {
	case '0' <= b && b <= '9':
		return int(b - '0')
	case 'a' <= b && b <= 'f':
		return int(b-'a') + 10
	case 'A' <= b && b <= 'F':
		return int(b-'A') + 10
	}
	return -1
}
