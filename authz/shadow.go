package authz

import "time"

// softening is a denial that shadow mode may turn into a report.
type softening struct {
	reason Reason
	access Access
	held   Scopes // what the key holds, for ReasonScope
}

// shadows reports whether shadow mode turns a denial into a report. It softens only what
// the policy requires of a valid key: scope, network, route and the project of a rule.
// The shadow mode of a route, and that of all requests, soften a missing key too; that of
// a key can't, since there is no key. Other denials always stay: those for a credential
// that is not valid (unknown, wrong, disabled, revoked, expired, ambiguous), for a path
// that two parties may read differently, and for an exceeded limit.
func (a *Authorizer) shadows(d *Decision, s softening) bool {
	switch s.reason {
	case ReasonScope, ReasonNetwork, ReasonRoute, ReasonMissing, ReasonProject:
	default:
		return false
	}
	now := a.Now()
	on := func(until time.Time) bool { return !until.IsZero() && now.Before(until) }
	if on(a.ShadowUntil) || d.Rule != nil && d.Rule.Shadow && on(d.Rule.Until) {
		return true
	}
	return d.Record != nil && on(d.Record.ShadowUntil) && on(d.Record.ShadowEnd) && shadowedByKey(d, s)
}

// shadowedByKey reports whether the key's own shadow mode, while it runs, covers a
// denial. An administrator sets it, so it allows no more than that administrator could
// have granted to the key ([Record.ShadowScopes]), and never anything on the reserved
// resource. It gives no key access to another project, since a project is no scope.
func shadowedByKey(d *Decision, s softening) bool {
	within := d.Record.ShadowScopes
	if len(within) == 0 || isReserved(d.Resource) {
		return false
	}
	if s.access == AccessDenied { // no scope allows this, so only an administrator that may grant everything can soften it
		return (s.reason == ReasonRoute || s.reason == ReasonNetwork) && within.Allows("*", "*")
	}
	switch s.reason {
	case ReasonScope:
		if d.Rule != nil && d.Rule.AnyOf != nil {
			return d.Rule.shadowed(d, within, s.held)
		}
		return within.Allows(d.Resource, d.Action)
	case ReasonNetwork:
		return s.access == AccessAuthenticated || within.allowsAll(d)
	default:
		return false
	}
}

// allowsAll reports whether the scopes allow everything that the route of d may require.
// If the rule has alternatives, they have to allow each, since it is not yet known which
// one the key meets.
func (s Scopes) allowsAll(d *Decision) bool {
	if d.Rule == nil || d.Rule.AnyOf == nil {
		return s.Allows(d.Resource, d.Action)
	}
	for _, needs := range d.Rule.AnyOf {
		if !s.allowsNeeds(needs) {
			return false
		}
	}
	return true
}

func (s Scopes) allowsNeeds(needs []Need) bool {
	for i := range needs {
		if !s.Allows(needs[i].Resource, needs[i].Action) {
			return false
		}
	}
	return true
}

// shadowed reports whether within allows every need of one alternative of the rule, also
// those needs that the key's own scopes, held, meet: the two together must not allow what
// neither allows alone. d then names the first need of that alternative that the key
// lacks.
func (r *Rule) shadowed(d *Decision, within, held Scopes) bool {
	for _, needs := range r.AnyOf {
		if !within.allowsNeeds(needs) {
			continue
		}
		for i := range needs {
			if !held.Allows(needs[i].Resource, needs[i].Action) {
				d.Resource, d.Action = needs[i].Resource, needs[i].Action
				return true
			}
		}
	}
	return false
}

// refuse records a reason to deny, and reports whether the request is denied. It returns
// false if shadow mode turns the denial into a report; of several reports the first is
// kept.
func (a *Authorizer) refuse(d *Decision, s softening, t *trace) bool {
	if a.shadows(d, s) {
		t.add("shadow", "would deny", s.reason.String())
		if d.Shadow == ReasonUnspecified {
			d.Shadow = s.reason
		}
		return false
	}
	if t != nil && d.Record != nil && a.Now().Before(d.Record.ShadowUntil) {
		t.add("shadow", "does not cover it", "the key is in shadow mode within "+shadowText(d.Record))
	}
	d.Reason, d.Shadow = s.reason, ReasonUnspecified
	return true
}

func shadowText(r *Record) string {
	if len(r.ShadowScopes) == 0 {
		return "no scopes: set it again"
	}
	return string(r.ShadowScopes.AppendText(nil)) + ", the grants of the administrator that set it"
}
