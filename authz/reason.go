package authz

// Reason is why a request was allowed or denied. The set is closed: each reason has
// one public code, one HTTP status, one public message and one metric label.
type Reason uint8

// The reasons. ReasonUnspecified is the reason of the zero Decision, and denies.
const (
	ReasonUnspecified Reason = iota
	ReasonGranted            // allowed: key verified, scopes hold
	ReasonAnonymous          // allowed: the rule requires no key
	ReasonMissing            // no credential
	ReasonMalformed          // not the form of a key, or its checksum is wrong
	ReasonUnknown            // well formed, but no such key
	ReasonWrongSecret        // prefix known, digest differs
	ReasonDisabled
	ReasonRevoked
	ReasonExpired
	ReasonNetwork    // client address outside the key's networks, or not known for sure
	ReasonScope      // the key lacks what the route requires
	ReasonProject    // the rule is for keys of another project
	ReasonRoute      // no rule and no mapping allows this request, whatever the key
	ReasonPath       // path or host that two parties could read differently
	ReasonAmbiguous  // more than one credential
	ReasonThrottled  // over a limit
	ReasonForwarding // a proxy did not forward the request in the required form, or the request has headers that can't be distinguished from the proxy's own, or a key that can't be removed
	reasonCount
)

// reasonInfo is what clients and operators see of a reason.
type reasonInfo struct {
	label  string // metric label, and name in logs and dynamic metadata
	code   string // "code" of the problem document
	status int
	title  string
	detail string
}

// reasons describes each reason. Unknown keys and wrong secrets look identical from the
// outside, so that no client learns which prefixes exist. Label and code differ only for
// these two and for ReasonUnspecified.
var reasons = [reasonCount]reasonInfo{
	ReasonUnspecified: {"unspecified", "invalid_key", 403, "Forbidden", "The request is not allowed."},
	ReasonGranted:     {"granted", "granted", 200, "OK", "The request is allowed."},
	ReasonAnonymous:   {"anonymous", "anonymous", 200, "OK", "The request is allowed without a key."},
	ReasonMissing:     {"missing_key", "missing_key", 401, "API key missing", "This request needs an API key. Send it in the header that the API's documentation names."},
	ReasonMalformed:   {"malformed_key", "malformed_key", 401, "API key malformed", "What was sent is not a complete API key. Check that it was copied whole."},
	ReasonUnknown:     {"unknown_key", "invalid_key", 401, "API key not valid", "The API key is not valid."},
	ReasonWrongSecret: {"wrong_secret", "invalid_key", 401, "API key not valid", "The API key is not valid."},
	ReasonDisabled:    {"key_disabled", "key_disabled", 401, "API key disabled", "This API key is disabled. Ask its issuer to enable it, or use another one."},
	ReasonRevoked:     {"key_revoked", "key_revoked", 401, "API key revoked", "This API key was revoked. Use another one."},
	ReasonExpired:     {"key_expired", "key_expired", 401, "API key expired", "This API key has expired. Use a newer one."},
	ReasonNetwork:     {"network_refused", "network_refused", 403, "Network refused", "This API key may not be used from this network address."},
	ReasonScope:       {"scope_missing", "scope_missing", 403, "Scope missing", "This API key does not have the scope that the request needs."},
	ReasonProject:     {"project_refused", "project_refused", 403, "Project refused", "This API key belongs to another project than the one that the request is for. Use a key of that project."},
	ReasonRoute:       {"route_denied", "route_denied", 403, "Route denied", "No rule allows this request."},
	ReasonPath:        {"path_refused", "path_refused", 400, "Path refused", "The request's path or host is not in its plain form. Send it without dot segments, doubled slashes, backslashes, parameters or needless percent-encoding."},
	ReasonAmbiguous:   {"ambiguous_credential", "ambiguous_credential", 401, "More than one credential", "The request carries more than one credential. Send exactly one API key, once."},
	ReasonForwarding:  {"forwarding_refused", "forwarding_refused", 403, "Forwarding refused", "The request did not come here in the form that a gateway gives it, or it carries headers whose names are the gateway's own, or an API key in a place from which the key can't be removed, such as the path. Send it without them, and the key only where the API's documentation says."},
	ReasonThrottled:   {"throttled", "throttled", 429, "Too many requests", "Too many requests. Try again later."},
}

func (r Reason) info() *reasonInfo {
	if r >= reasonCount {
		r = ReasonUnspecified
	}
	return &reasons[r]
}

// String returns the metric label; it is also the name in logs.
func (r Reason) String() string { return r.info().label }

// Code is the public name: the same for an unknown key and a wrong secret.
func (r Reason) Code() string { return r.info().code }

// Status is the HTTP status that a client gets unless it is overridden.
func (r Reason) Status() int { return r.info().status }

// Title is the problem document's title: the same for every occurrence.
func (r Reason) Title() string { return r.info().title }

// Detail is the public message: what happened and what to do.
func (r Reason) Detail() string { return r.info().detail }

// Reasons returns every reason that a Decision can have. It is for metrics that are
// created in advance and for documentation.
func Reasons() []Reason {
	rs := make([]Reason, 0, reasonCount)
	for r := ReasonUnspecified; r < reasonCount; r++ {
		rs = append(rs, r)
	}
	return rs
}
