package authz

import (
	"slices"
	"strings"
)

// A whole key is never passed on to the upstream, wherever in the request its client put
// it: a reader of the upstream's logs could use it. Places from which the gateway can
// remove the key are added to Decision.Credentials. A request with a key in any other
// place is refused. Config.ForwardCredential turns both off.

// withoutKeys searches an allowed request for keys. A value without a key costs one
// search for the brand and one for "%".
func (a *Authorizer) withoutKeys(r *Request, d *Decision, t *trace) {
	if a.ForwardCredential {
		return
	}
	path, query, _ := strings.Cut(r.Path, "?")
	switch {
	case a.Format.Holds(path):
		a.denyExposed(CredentialSource{Kind: SourcePath}, d, t)
		return
	case a.Format.Holds(r.Method):
		a.denyExposed(CredentialSource{Kind: SourceMethod}, d, t)
		return
	case a.Format.Holds(r.Host):
		a.denyExposed(CredentialSource{Kind: SourceHost}, d, t)
		return
	}
	found := d.Credentials
	presented := "" // the header of the key that was judged; it is removed as a whole
	if len(found) > 0 && found[0].Source.Kind == SourceHeader {
		presented = found[0].Source.Name
	}
	if a.Format.Holds(query) {
		found = append(found, FoundCredential{Source: CredentialSource{Kind: SourceQuery}})
		if r.PathFixed && a.strayPair(query, "&", SourceQuery) {
			a.denyExposed(CredentialSource{Kind: SourceQuery}, d, t)
			return
		}
	}
	cookies := false
	for i := range r.Headers {
		h := &r.Headers[i]
		if h.Name == presented || !a.Format.HeaderHolds(h.Value) || strings.HasPrefix(h.Name, ":") {
			continue
		}
		s := CredentialSource{Kind: SourceHeader, Name: h.Name}
		if h.Name == "cookie" {
			s = CredentialSource{Kind: SourceCookie}
		}
		if r.HeadersFixed && a.strayHeader(r, h) {
			a.denyExposed(s, d, t)
			return
		}
		if s.Kind == SourceCookie && cookies {
			continue
		}
		cookies = cookies || s.Kind == SourceCookie
		found = append(found, FoundCredential{Source: s})
	}
	d.Credentials, r.found = found, found
}

// strayHeader reports whether a header that holds a key is neither configured as a source
// of keys nor stripped by the gateway's own configuration.
func (a *Authorizer) strayHeader(r *Request, h *Header) bool {
	if h.Name == "cookie" {
		return a.strayPair(h.Value, ";", SourceCookie)
	}
	return !slices.Contains(r.Stripped, h.Name) && !a.isSource(SourceHeader, h.Name)
}

// strayPair reports whether a parameter or cookie holds a key although it is not
// configured as a source of keys.
func (a *Authorizer) strayPair(pairs, separator string, kind SourceKind) bool {
	for pair := range strings.SplitSeq(pairs, separator) {
		name, _, _ := strings.Cut(strings.Trim(pair, " \t"), "=")
		if a.Format.HeaderHolds(pair) && !a.isSource(kind, name) {
			return true
		}
	}
	return false
}

func (a *Authorizer) isSource(kind SourceKind, name string) bool {
	return slices.ContainsFunc(a.sources, func(s CredentialSource) bool {
		return s.Kind == kind && (s.Name == name || kind == SourceQuery && equalsDecoded(name, s.Name))
	})
}

// denyExposed refuses a request that was allowed.
func (a *Authorizer) denyExposed(at CredentialSource, d *Decision, t *trace) {
	if t != nil {
		t.add("credential", "exposed", at.String()+" holds a key, and the gateway can't remove it from there: send keys where one is looked for, or have the gateway strip it before it asks")
	}
	d.Allowed, d.Reason, d.Shadow, d.Exposed = false, ReasonForwarding, ReasonUnspecified, at
}

// HeaderHolds reports whether a header's value holds a whole key of this service, so that
// an adapter must not leave it out of a Request.
func (a *Authorizer) HeaderHolds(value string) bool { return a.Format.HeaderHolds(value) }
