package keyring

import (
	"fmt"
	"time"

	"extauthz/authz"
)

// everything holds the scopes that the system may grant: all but the reserved resource.
var everything = authz.Scopes{{Resource: "*", Actions: []string{"*"}}}

// shadow completes the shadow mode of next, whose end was just set. An administrator who
// sets shadow mode in effect grants what it softens, so three limits apply. It softens no
// more than the administrator may grant. It can't be set on an administrator's key, which
// no operation of this package changes. The end that was given first holds for the whole
// family: an earlier end may be set, but never a later one, whatever was ended, set again
// or rotated meanwhile.
func (f *family) shadow(p Principal, next *authz.Record) error {
	if next.ShadowUntil.IsZero() {
		next.ShadowScopes = nil
		return nil
	}
	end := f.shadowEnd()
	if end.IsZero() {
		end = next.ShadowUntil
	}
	if next.ShadowUntil.After(end) {
		return &ValidationError{[]FieldError{{"shadow_until", fmt.Sprintf(
			"must not be after %s, the end that was given when shadow mode was first set: it can't be moved, by rotation neither; give the key the scopes that it needs, or issue a new one", instant(end))}}}
	}
	if !p.System && len(p.Grants.Scopes) == 0 {
		return fmt.Errorf("%w: you may grant nothing, so the shadow mode would soften nothing", ErrForbidden)
	}
	next.ShadowEnd = end
	if next.ShadowScopes = p.Grants.Scopes; p.System {
		next.ShadowScopes = everything
	}
	return nil
}

// shadowEnd returns the end of shadow mode that holds for the family: the earliest
// ShadowEnd of its members, or zero if none has one.
func (f *family) shadowEnd() (end time.Time) {
	for i := range f.members {
		if e := f.members[i].ShadowEnd; !e.IsZero() && (end.IsZero() || e.Before(end)) {
			end = e
		}
	}
	return end
}
