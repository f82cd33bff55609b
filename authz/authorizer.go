package authz

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// DefaultRoute defines how a request that no rule matches is decided.
type DefaultRoute string

// The default routes.
const (
	DefaultRouteMap           DefaultRoute = "map"           // first path segment and method
	DefaultRouteAuthenticated DefaultRoute = "authenticated" // any valid key
	DefaultRouteDeny          DefaultRoute = "deny"
)

// Config configures an [Authorizer]. Format, Peppers, Sources, Validator and Now
// are needed.
type Config struct {
	Format  *KeyFormat
	Peppers *Peppers
	Sources []CredentialSource

	Routes       *RouteTable // nil: no rules
	DefaultRoute DefaultRoute
	DefaultMap   *DefaultMap // needed for DefaultRouteMap
	// UseContextExtensions lets the gateway's route configuration name resource
	// and action where no rule matches. It replaces the default, never a rule.
	UseContextExtensions bool
	// RouteMetadata lets the gateway's route metadata do the same.
	RouteMetadata RouteMetadata
	// AllowPreflights lets CORS preflights through, which browsers send without a key. It
	// is for gateways that send a check before they answer a preflight.
	AllowPreflights bool
	// ShadowUntil is the end of shadow mode for all requests; the zero time turns it
	// off.
	ShadowUntil    time.Time
	Paths          PathPolicy
	ClientAddress  ClientAddress
	IdentityPrefix string // lower case, such as "x-auth-"
	// ForwardCredential passes keys on to the upstream: they are then searched only in
	// the configured places.
	ForwardCredential bool

	Validator Validator
	Limiter   *Limiter      // of keys' rates; nil: none is enforced
	Usage     UsageRecorder // nil: uses are not counted
	// Unpeppered is called with the prefix of a key whose stored digest was made without
	// a pepper, and which Peppers therefore rejects. It must not block, and must clone
	// the prefix to keep it. Nil: such keys are not counted.
	Unpeppered func(prefix string)
	Now        func() time.Time // the database's time, by which keys expire
}

// Authorizer decides about requests. It is immutable and safe for concurrent
// use; a reload makes a new one.
type Authorizer struct {
	Config
	sources []CredentialSource
	headers []string // see Headers
}

// New checks the configuration and reports every problem at once.
func New(c Config) (*Authorizer, error) {
	var problems []error
	need := func(ok bool, what string) {
		if !ok {
			problems = append(problems, errors.New("authorizer: "+what))
		}
	}
	need(c.Format != nil, "a key format is needed")
	need(c.Peppers != nil, "a pepper set is needed (it may be empty)")
	need(c.Validator != nil, "a validator is needed")
	need(c.Now != nil, "a clock is needed")
	need(len(c.Sources) > 0, "at least one credential source is needed")
	switch c.DefaultRoute {
	case DefaultRouteMap:
		need(c.DefaultMap != nil, "default route map needs a default map")
		need(!c.Paths.Encoded, "default route map takes the resource from the path, so its encoded characters can't be data")
	case DefaultRouteAuthenticated, DefaultRouteDeny:
	default:
		problems = append(problems, fmt.Errorf("authorizer: default route %q: write map, authenticated or deny", c.DefaultRoute))
	}
	if len(problems) > 0 {
		return nil, errors.Join(problems...)
	}
	a := &Authorizer{Config: c}
	for _, s := range c.Sources {
		if s.Kind == SourceHeader {
			s.Name = strings.ToLower(s.Name)
		}
		a.sources = append(a.sources, s)
	}
	a.headers = DecisionHeaders(a.sources, c.ClientAddress, c.AllowPreflights)
	return a, nil
}

// DecisionHeaders returns the lower-case names of the headers that decisions rest on,
// sorted: those with keys, the client's address, and those that identify a CORS
// preflight.
func DecisionHeaders(sources []CredentialSource, address ClientAddress, preflights bool) (names []string) {
	for _, s := range sources {
		switch s.Kind {
		case SourceHeader:
			names = append(names, strings.ToLower(s.Name))
		case SourceCookie:
			names = append(names, "cookie")
		}
	}
	if preflights {
		names = append(names, "origin", preflightHeader)
	}
	if address.TrustedHops > 0 {
		names = append(names, address.Header)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// Headers returns the lower-case names of the headers that decisions rest on. A Request
// may leave out all others, except those under the identity prefix.
func (a *Authorizer) Headers() []string { return a.headers }

// Check decides about one request. A denial is a Decision; an error means that
// no decision could be made, or that ctx ended first.
func (a *Authorizer) Check(ctx context.Context, r *Request) (Decision, error) {
	d, err := a.decide(ctx, r, nil)
	if err == nil && d.Allowed {
		a.withoutKeys(r, &d, nil)
	}
	if err == nil && d.Allowed && d.Record != nil && a.Usage != nil {
		a.Usage.Used(d.Record.ID, a.Now())
	}
	return d, err
}

// Explain decides as Check does and returns each step that led there. It counts
// as no use of the key.
func (a *Authorizer) Explain(ctx context.Context, r *Request) (Decision, []Step, error) {
	var t trace
	d, err := a.decide(ctx, r, &t)
	if err == nil && d.Allowed {
		a.withoutKeys(r, &d, &t)
	}
	return d, t.steps, err
}

// decide runs the steps of a check, in the order of ARCHITECTURE.md ("One request's
// way"). Each step may end the check.
func (a *Authorizer) decide(ctx context.Context, r *Request, t *trace) (Decision, error) {
	host, ok := CanonicalHost(r.Host)
	if !ok {
		return denyPath(HostNotPlain, t), nil
	}
	path, fault := a.judge(r, host)
	if fault != PathPlain {
		return denyPath(fault, t), nil
	}
	t.add("path", "judged as", path.Path)
	d := Decision{Path: path.Path, Target: path.Target}
	if d.Target != "" {
		t.add("path", "repaired", "the upstream gets the repaired path too")
	}

	found := a.findCredentials(r, path.Query)
	d.Credentials = found.found
	if a.AllowPreflights && found.count == 0 && isPreflight(r) {
		t.add("route", "preflight", "CORS preflights need no key")
		d.Allowed, d.Reason = true, ReasonAnonymous
		return d, nil
	}

	access := a.access(r, host, path.Match, &d, t)
	if access == AccessAnonymous {
		d.Allowed, d.Reason = true, ReasonAnonymous
		return d, nil
	}
	if found.count == 0 {
		return a.withoutCredential(d, &found, access, t), nil
	}
	if found.count > 1 || found.ambiguous {
		t.add("credential", "ambiguous", "the request carries more than one credential, one under a name that occurs twice, or one with \",\" or \"!\"")
		d.Reason = ReasonAmbiguous
		return d, nil
	}
	if t != nil {
		t.add("credential", "found in", found.found[0].Source.String())
	}

	reason, err := a.verifyKey(ctx, NewSecret(found.value), r.Scratch, &d, t)
	if err != nil {
		return Decision{}, err
	}
	if reason != ReasonUnspecified { // shadow mode never softens a key that is not valid
		d.Reason = reason
		return d, nil
	}
	scopes, permitted, err := a.permit(ctx, r, access, &d, t)
	if err != nil {
		return Decision{}, err
	}
	if !permitted {
		return d, nil
	}
	if !a.withinRate(&d, t) {
		return d, nil
	}
	if err := ctx.Err(); err != nil { // the caller no longer waits: never allow late
		return Decision{}, err
	}
	d.Allowed, d.Reason, d.Scopes = true, ReasonGranted, scopes
	return d, nil
}

// permit decides whether a valid key allows the request. It tests, in this order, the
// key's networks, the route, the rule's project and the scopes. Shadow mode may turn a
// refusal into a report. The first one that stays a refusal is in d.Reason, and permitted
// is then false. The returned scopes are the key's own and those of its roles.
func (a *Authorizer) permit(ctx context.Context, r *Request, access Access, d *Decision, t *trace) (scopes Scopes, permitted bool, err error) {
	if !a.networkPermits(r, d, t) && a.refuse(d, softening{reason: ReasonNetwork, access: access}, t) {
		return nil, false, nil
	}
	if access == AccessDenied && a.refuse(d, softening{reason: ReasonRoute, access: access}, t) {
		return nil, false, nil
	}
	if !projectPermits(d, t) && a.refuse(d, softening{reason: ReasonProject, access: access}, t) {
		return nil, false, nil
	}
	scopes, err = a.scopesOf(ctx, d.Record, Need{d.Resource, d.Action, d.Captured})
	if err != nil {
		t.add("roles", "error", "the roles could not be read")
		return nil, false, err
	}
	if access == AccessScoped && !scopesPermit(d, scopes, t) && a.refuse(d, softening{ReasonScope, access, scopes}, t) {
		return nil, false, nil
	}
	return scopes, true, nil
}

// networkPermits reports whether the client's address is in the key's networks. It finds
// the address only if the key is limited to networks.
func (a *Authorizer) networkPermits(r *Request, d *Decision, t *trace) bool {
	rec := d.Record
	if len(rec.AllowedCIDRs) == 0 {
		return true
	}
	client, known := a.ClientAddress.Find(r.Peer, r.Headers)
	if known && inNetworks(rec.AllowedCIDRs, client) {
		return true
	}
	d.Client = client
	switch {
	case t == nil:
	case known:
		t.add("network", "refused", fmt.Sprintf("the client's address %s is in none of the key's networks: %v", client, rec.AllowedCIDRs))
	default:
		t.add("network", "refused", "the client's address is unknown: "+a.ClientAddress.unknown())
	}
	return false
}

// projectPermits reports whether the key belongs to the project that the rule is for.
func projectPermits(d *Decision, t *trace) bool {
	if d.Rule == nil || d.Rule.Project == "" || d.Rule.Project == d.Record.Project {
		return true
	}
	if t != nil {
		t.add("project", "refused", "the rule is for the project "+d.Rule.Project)
	}
	return false
}

// scopesPermit reports whether the scopes allow what the route requires. For a rule with
// alternatives it sets d.Resource and d.Action as [Rule.meets] returns them.
func scopesPermit(d *Decision, scopes Scopes, t *trace) bool {
	permitted := scopes.Allows(d.Resource, d.Action)
	if d.Rule != nil && d.Rule.AnyOf != nil {
		var required Need
		required, permitted = d.Rule.meets(scopes)
		d.Resource, d.Action = required.Resource, required.Action
	}
	switch {
	case !permitted:
		t.target("scopes", "missing", d)
	case d.Resource != "": // else any valid key will do
		t.target("scopes", "hold", d)
	}
	return permitted
}

// withoutCredential decides a request if no source has a key in this service's format. A
// client that sends another value there is denied as malformed. Under a scheme that other
// services use too, such as Bearer, the value may be meant for the upstream, so shadow
// mode lets it through like a missing key. Without a scheme it is a malformed key, which
// shadow mode never softens.
func (a *Authorizer) withoutCredential(d Decision, found *credentials, access Access, t *trace) Decision {
	if t != nil {
		outcome := "missing"
		if found.foreign {
			outcome = "foreign"
		}
		t.add("credential", outcome, a.sourcesText())
	}
	switch {
	case found.garbage:
		d.Reason = ReasonMalformed
	case !a.refuse(&d, softening{reason: ReasonMissing, access: access}, t):
		d.Allowed, d.Reason = true, ReasonAnonymous
	case found.foreign:
		d.Reason = ReasonMalformed
	}
	return d
}

const preflightHeader = "access-control-request-method"

// isPreflight reports whether an OPTIONS request is a CORS preflight (Fetch, 3.2.2).
func isPreflight(r *Request) bool {
	if r.Method != "OPTIONS" {
		return false
	}
	origin, method := false, false
	for i := range r.Headers {
		switch r.Headers[i].Name {
		case "origin":
			origin = true
		case preflightHeader:
			method = true
		}
	}
	return origin && method
}

// withinRate reports whether the rate permits the request, and counts it unless it is
// only explained. A family shares one rate, so a rotation adds no second one.
func (a *Authorizer) withinRate(d *Decision, t *trace) bool {
	rec := d.Record
	if a.Limiter == nil || rec.Rate.IsZero() {
		return true
	}
	family := rec.Family
	if family == "" {
		family = rec.ID
	}
	var ok bool
	if d.Limit, d.RetryAfter, ok = a.Limiter.take(family, rec.Rate, t != nil); !ok {
		if t != nil {
			t.add("rate", "exceeded", rec.Rate.String())
		}
		d.Reason, d.Shadow = ReasonThrottled, ReasonUnspecified
		return false
	}
	if t != nil {
		t.add("rate", "holds", rec.Rate.String()+", "+strconv.Itoa(d.Limit.Remaining)+" left on this replica")
	}
	return true
}

// denyPath denies a request whose path or host two parties could read
// differently.
func denyPath(fault PathFault, t *trace) Decision {
	t.add("path", "refused", fault.Detail())
	return Decision{Reason: ReasonPath, PathFault: fault}
}

// judge returns the path to judge. CONNECT has no path: it is judged by host and method
// alone, as if for "/".
func (a *Authorizer) judge(r *Request, host string) (JudgedPath, PathFault) {
	if r.Method == "CONNECT" && r.Path == "" {
		return JudgedPath{Path: "/", Match: "/"}, PathPlain
	}
	policy := a.Paths
	policy.Repair = policy.Repair && !r.PathFixed
	return policy.Judge(a.Routes, r.Method, host, r.Path, r.PathSanitised)
}

func (a *Authorizer) scopesOf(ctx context.Context, rec *Record, need Need) (Scopes, error) {
	if len(rec.Roles) == 0 {
		return rec.Scopes, nil
	}
	shared, err := a.Validator.RoleScopes(ctx, rec, need)
	if err != nil {
		return nil, err
	}
	return rec.Scopes.Union(shared), nil
}

func (a *Authorizer) sourcesText() string {
	names := make([]string, len(a.sources))
	for i, s := range a.sources {
		names[i] = s.String()
	}
	return "looked in " + strings.Join(names, ", ")
}
