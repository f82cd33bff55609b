package authz

import "time"

// shadows tells whether a trial makes a denial for this reason a report. Only
// what a policy says of a good key is softened: scope, network and route. A
// route's trial, and one for all requests, soften a missing key too; that of a
// key can't, having none. Everything that says that a credential is no good
// (unknown, wrong, disabled, revoked, expired, ambiguous), a path that two
// parties may read differently, and a limit, stay denials.
func (a *Authorizer) shadows(d *Decision, reason Reason) bool {
	switch reason {
	case ReasonScope, ReasonNetwork, ReasonRoute, ReasonMissing:
	default:
		return false
	}
	now := a.Now()
	on := func(until time.Time) bool { return !until.IsZero() && now.Before(until) }
	return on(a.ShadowUntil) || d.Rule != nil && d.Rule.Shadow && on(d.Rule.Until) ||
		reason != ReasonMissing && d.Record != nil && on(d.Record.ShadowUntil)
}

// refuse takes in a reason to deny, and tells whether that is the end: false
// where a trial makes it a report. The first reason is the one reported.
func (a *Authorizer) refuse(d *Decision, reason Reason, t *trace) bool {
	if a.shadows(d, reason) {
		t.add("shadow", "would deny", reason.String())
		if d.Shadow == ReasonUnspecified {
			d.Shadow = reason
		}
		return false
	}
	d.Reason, d.Shadow = reason, ReasonUnspecified
	return true
}
