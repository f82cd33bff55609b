package authz

import "strings"

// SourceKind says in which part of a request a credential is looked for.
type SourceKind uint8

// The places where a credential can stand.
const (
	SourceHeader SourceKind = iota + 1
	SourceQuery
	SourceCookie
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
	switch s.Kind {
	case SourceQuery:
		return "query " + s.Name
	case SourceCookie:
		return "cookie " + s.Name
	}
	if s.Scheme != "" {
		return "header " + s.Name + " (" + s.Scheme + ")"
	}
	return "header " + s.Name
}

// FoundCredential is a place in a request where a credential was seen. It never
// holds the credential itself.
type FoundCredential struct {
	Source CredentialSource
	// foreign: under a scheme that others use too, with a value that is none of
	// our keys.
	foreign bool
}

// credentials is what the sources yield for one request: the value when there
// is exactly one, and how many there were.
type credentials struct {
	count     int
	value     string
	ambiguous bool // one line that may hold several, or a damaged one
	ours      bool // the source that was looked at last had a value that may be a key of ours
	found     []FoundCredential
}

// findCredentials looks in every source, not only until the first find: two
// credentials, the same one twice included, are refused (hazards: a gateway and
// an upstream could each believe another one).
func (a *Authorizer) findCredentials(r *Request, query string) credentials {
	c := credentials{found: r.found[:0]}
	for _, s := range a.sources {
		before := c.count
		c.ours = false
		switch s.Kind {
		case SourceHeader:
			for i := range r.Headers {
				if h := &r.Headers[i]; h.Name == s.Name {
					c.header(s, h)
					c.ours = c.ours || c.ambiguous || a.Format.Mentions(c.value)
				}
			}
		case SourceQuery:
			c.query(s.Name, query)
		case SourceCookie:
			for i := range r.Headers {
				if h := &r.Headers[i]; h.Name == "cookie" {
					c.cookie(s.Name, h)
				}
			}
		}
		if c.count > before {
			c.found = append(c.found, FoundCredential{Source: s, foreign: s.Scheme != "" && !c.ours})
		}
	}
	r.found = c.found
	return c
}

func (c *credentials) add(value string) {
	c.count++
	c.value = value
}

func (c *credentials) header(s CredentialSource, h *Header) {
	value := strings.Trim(h.Value, " \t")
	if s.Scheme != "" {
		scheme, rest, ok := strings.Cut(value, " ")
		if !strings.EqualFold(scheme, s.Scheme) {
			// "Basic …,Bearer …": joined lines, one of which may be ours.
			if h.Sanitised && mentionsScheme(value, s.Scheme) {
				c.add("")
				c.ambiguous = true
			}
			return
		}
		if !ok {
			rest = ""
		}
		value = strings.TrimLeft(rest, " ")
	}
	c.add(value)
	if h.Sanitised && joinedOrDamaged(value) {
		c.ambiguous = true
	}
}

// joinedOrDamaged tells whether a sanitised value may be of several lines (",") or
// lacks bytes that are not UTF-8 ("!").
func joinedOrDamaged(value string) bool {
	for i := range len(value) {
		if value[i] == ',' || value[i] == '!' {
			return true
		}
	}
	return false
}

// mentionsScheme tells whether one of the comma-separated parts of a joined
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

func (c *credentials) query(name, query string) {
	for pair := range strings.SplitSeq(query, "&") {
		key, value, _ := strings.Cut(pair, "=")
		if !equalsDecoded(key, name) {
			continue
		}
		// A key is made of letters, digits and "_", none of which needs
		// encoding, so an encoded value is left as it is and fails the format.
		c.add(value)
	}
}

func (c *credentials) cookie(name string, h *Header) {
	for pair := range strings.SplitSeq(h.Value, ";") {
		key, value, ok := strings.Cut(strings.Trim(pair, " \t"), "=")
		if !ok || key != name {
			continue
		}
		c.add(value)
		if h.Sanitised && joinedOrDamaged(value) {
			c.ambiguous = true
		}
	}
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
