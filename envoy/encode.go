package envoy

import (
	"errors"
	"fmt"
	"strings"

	"extauthz/authz"
)

// EncoderConfig defines how decisions are encoded.
type EncoderConfig struct {
	HeaderPrefix      string                   // of identity headers, lower case; "" is "x-auth-"
	MetadataHeaders   []string                 // entries of a key's metadata that the upstream gets
	KeepOverrides     []string                 // those of OverrideHeaders that clients may send on
	ForwardCredential bool                     // leave the key in the request
	Realm             string                   // of WWW-Authenticate; "" is "api"
	Sources           []authz.CredentialSource // where keys may be; WWW-Authenticate names their schemes
	ProblemTypeBase   string                   // "" is "about:blank"
	RequestID         bool                     // problem documents carry the request's id
	DebugHeaders      bool                     // the client gets x-cache-status
	Overrides         map[string]Override      // by public code
	OnError           OnError                  // "" is OnErrorUnavailable
	SampleAllowed     float64                  // share of allowed checks that is logged, 0 to 1; denials are always logged, up to a limit
	RateMetadata      bool                     // a key's rate is sent as dynamic metadata, for Envoy's rate limits
}

// OnError defines the answer that Envoy gets if no decision could be made.
type OnError string

// The modes.
const (
	OnErrorUnavailable OnError = "unavailable"    // a gRPC error: failure_mode_allow decides
	OnErrorDeny        OnError = "deny"           // a 503 denial, whatever failure_mode_allow is
	OnErrorResponse    OnError = "error_response" // Envoy 1.37 and later: this service's 503, and failure_mode_allow decides
)

type encoder struct {
	identity   []identityHeader // the complete set, sorted by name
	names      []string         // their names
	own        ownNames         // names that clients may not send on
	refusals   []*refusal       // by reason
	paths      []*refusal       // by path fault
	noDecision *refusal         // where no decision could be made
	config     EncoderConfig
	holds      func(text string) bool // whether a parameter or cookie holds a key
}

func newEncoder(c EncoderConfig) (*encoder, error) {
	if c.HeaderPrefix == "" {
		c.HeaderPrefix = "x-auth-"
	}
	if c.Realm == "" {
		c.Realm = "api"
	}
	if c.ProblemTypeBase == "" {
		c.ProblemTypeBase = blankType
	}
	var problems []error
	if !ValidHeaderName(c.HeaderPrefix) || strings.Contains(c.HeaderPrefix, "_") || !strings.HasSuffix(c.HeaderPrefix, "-") {
		problems = append(problems, fmt.Errorf("identity header prefix %q: write a lower-case name that ends in \"-\", such as x-auth-", c.HeaderPrefix))
	}
	if PrefixTooLong(c.HeaderPrefix) {
		problems = append(problems, fmt.Errorf("identity header prefix %q is longer than Envoy's regular expressions may be: write a shorter one", c.HeaderPrefix))
	}
	if err := CheckRealm(c.Realm); err != nil {
		problems = append(problems, fmt.Errorf("realm %q: %w", c.Realm, err))
	}
	for _, n := range c.MetadataHeaders {
		if !ValidHeaderName(n) {
			problems = append(problems, fmt.Errorf("metadata header %q: write a lower-case header name", n))
		}
	}
	switch c.OnError {
	case "":
		c.OnError = OnErrorUnavailable
	case OnErrorUnavailable, OnErrorDeny, OnErrorResponse:
	default:
		problems = append(problems, fmt.Errorf("on_error %q: write unavailable, deny or error_response", c.OnError))
	}
	for code, o := range c.Overrides {
		problems = append(problems, o.validate(code)...)
	}
	own, err := newOwnNames(c.HeaderPrefix, c.KeepOverrides)
	if err != nil {
		problems = append(problems, err)
	}
	if len(problems) > 0 {
		return nil, errors.Join(problems...)
	}
	e := &encoder{own: own, config: c, holds: func(string) bool { return false }, identity: identityHeaders(c.HeaderPrefix, c.MetadataHeaders)}
	for _, h := range e.identity {
		e.names = append(e.names, h.name)
	}
	for _, reason := range authz.Reasons() {
		e.refusals = append(e.refusals, e.refusal(reason))
	}
	e.paths = []*refusal{e.refusals[authz.ReasonPath]}
	for _, fault := range authz.PathFaults() {
		e.paths = append(e.paths, e.refusalFor(authz.ReasonPath, fault.Detail()))
	}
	e.noDecision = e.unavailable()
	return e, nil
}

// encode puts the answer for the decision d about r into a.
func (e *encoder) encode(a *answer, d *authz.Decision, r *authz.Request) {
	a.reset()
	if !d.Allowed {
		e.encodeDenied(a, d, r)
	} else {
		e.encodeAllowed(a, d, r)
	}
	e.facts(a, d)
}

func (e *encoder) encodeAllowed(a *answer, d *authz.Decision, r *authz.Request) {
	e.identify(a, d)
	e.removeOthers(a, r)
	target := r.Path
	if d.Target != "" {
		target = d.Target
	}
	if !e.config.ForwardCredential {
		target = e.hideCredentials(a, d, r, target)
	}
	if target != r.Path {
		if !plainValue(target) {
			target = encodedTarget(target)
		}
		a.set(":path", target)
	}
	if e.config.DebugHeaders && d.Layer != authz.LayerNone {
		a.client = append(a.client, header{"x-cache-status", cacheStatus(d)})
	}
}

// hideCredentials removes headers and cookies that carried a key, and returns the target
// without keys. A name is never in both a.headers and a.remove: Envoy would remove it
// last.
func (e *encoder) hideCredentials(a *answer, d *authz.Decision, r *authz.Request, target string) string {
	var gone places
	cookie, cookies := r.Headers, false
	for i := range d.Credentials {
		switch source := &d.Credentials[i].Source; source.Kind {
		case authz.SourceHeader:
			if name := source.Name; ValidHeaderName(name) && !named(a.headers, name) && gone.find(a.remove, name) < 0 {
				a.remove = append(a.remove, name)
				gone.add(a.remove)
			}
		case authz.SourceQuery:
			target = e.withoutParameter(target, source.Name)
		case authz.SourceCookie:
			cookie, cookies = []authz.Header{{Name: "cookie", Value: e.withoutCookie(cookie, source.Name)}}, true
		}
	}
	if cookies {
		if line := cookie[0].Value; line != "" {
			a.set("cookie", line)
		} else {
			a.remove = append(a.remove, "cookie")
		}
	}
	return target
}

// encodedTarget percent-encodes bytes that can't go back as they are: those outside ASCII
// in a query. Encoded, they mean the same.
func encodedTarget(target string) string {
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	b.Grow(len(target) + 16)
	for i := range len(target) {
		if c := target[i]; c <= ' ' || c >= 0x7f {
			b.Write([]byte{'%', hex[c>>4], hex[c&15]})
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

// plainValue reports whether a value that came from the client can go back into a
// response as it is.
func plainValue(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' && s[i] != '\t' || s[i] >= 0x7f {
			return false
		}
	}
	return true
}

func cacheStatus(d *authz.Decision) string {
	if d.Layer.Hit() {
		return "HIT"
	}
	return "MISS"
}

// facts adds the dynamic metadata for access logs and rate limits, for denials too.
func (e *encoder) facts(a *answer, d *authz.Decision) {
	a.fact("reason", d.Reason.String())
	if d.Shadow != authz.ReasonUnspecified {
		a.fact("shadow", d.Shadow.String())
	}
	if d.Layer != authz.LayerNone { // a key was looked up
		a.fact("cache", cacheStatus(d))
		a.fact("cache_layer", d.Layer.String())
	}
	r := d.Record
	if r == nil {
		return
	}
	if d.Allowed {
		a.fact("key_id", a.sent[identityKeyID])
		a.fact("key_prefix", a.sent[identityPrefix])
		a.fact("user_id", a.sent[identityUserID])
		a.fact("scopes", a.sent[identityScopes])
		if r.Project != "" {
			a.fact("project", a.sent[identityProject])
		}
	} else {
		a.fact("key_id", a.headerText(r.ID))
		a.fact("key_prefix", a.headerText(r.Prefix))
		a.fact("user_id", a.headerText(r.UserID))
		a.fact("scopes", a.scopes(d.Scopes))
		if r.Project != "" {
			a.fact("project", a.headerText(r.Project))
		}
	}
	if e.config.RateMetadata {
		a.rate = r.Rate
	}
}
