package authz

import "time"

// softening is a denial that shadow mode may turn into a report.
type softening struct {
	reason Reason
	access Access
	held   Scopes // what the key holds, for ReasonScope
}

// shadows reports whether shadow mode makes a denial a report. Only requirements of the
// policy for a valid key are softened: scope, network, route and the project of a rule. A
// route's shadow mode, and that of all requests, soften a missing key too; that of a key
// can't, since there is no key. Everything that shows that a credential is not valid
// (unknown, wrong, disabled, revoked, expired, ambiguous), a path that two parties may
// read differently, and a limit, stay denials.
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

// shadowedByKey reports whether the shadow mode of the key itself, while it runs, covers
// a denial. An administrator sets it, so it allows what that administrator could have
// granted to the key and no more ([Record.ShadowScopes]), and never anything on the
// reserved resource. A project is no scope, and shadow mode gives no key access to
// another project.
func shadowedByKey(d *Decision, s softening) bool {
	within := d.Record.ShadowScopes
	if len(within) == 0 || isReserved(d.Resource) {
		return false
	}
	if s.access == AccessDenied { // no administrator can grant it, so only one that may grant everything softens it
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

// allowsAll reports whether the scopes allow whatever the target of d may ask for:
// of a rule with alternatives each, since it is not yet known which one the key
// meets.
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

// shadowed reports whether within allows every need of one alternative of the rule,
// also those that the key holds itself: the two together must not open what neither
// opens. d then reports what the key lacks of that alternative.
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

// refuse takes in a reason to deny, and reports whether that is the end: false
// where shadow mode makes it a report. The first reason is the one reported.
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
