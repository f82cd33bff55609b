package envoy

import (
	"strings"

	"extauthz/authz"
)

// challenges returns the value of WWW-Authenticate (RFC 9110, 11.6.1): one challenge for
// each scheme that clients may use in the header authorization. If there is none, since
// keys come in other places, the header is needed all the same. It then names a scheme
// that no client implements.
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
