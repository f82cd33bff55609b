package envoy

import (
	"strings"

	"extauthz/authz"
)

// challenges is WWW-Authenticate (RFC 9110, 11.6.1): one challenge for each scheme
// that authorization may have here. Where it has none, since keys come in another
// place, the header is needed all the same, and names a scheme that no client
// takes for its own.
func (e *encoder) challenges(credentialSent bool) string {
	var all []string
	for _, s := range e.config.Sources {
		if s.Kind != authz.SourceHeader || !strings.EqualFold(s.Name, "authorization") || s.Scheme == "" {
			continue
		}
		challenge := s.Scheme + ` realm="` + e.config.Realm + `"`
		switch strings.ToLower(s.Scheme) {
		case "bearer":
			if credentialSent { // RFC 6750, 3.1: only then
				challenge += `, error="invalid_token"`
			}
		case "basic":
			challenge += `, charset="UTF-8"` // RFC 7617, 2.1
		}
		all = append(all, challenge)
	}
	if all == nil {
		return `ApiKey realm="` + e.config.Realm + `"`
	}
	return strings.Join(all, ", ")
}
