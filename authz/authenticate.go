package authz

import (
	"context"
	"errors"
	"net/netip"
)

// Authenticate proves a key alone, for callers that have no route: the
// management API. Format, look-up, digest, status and network are asked, scopes
// are not.
func (a *Authorizer) Authenticate(ctx context.Context, key Secret, client netip.Addr) (Decision, error) {
	var d Decision
	err := a.prove(ctx, key, nil, func() (netip.Addr, bool) { return client.Unmap(), client.IsValid() }, &d, nil)
	if err != nil || d.Reason != ReasonUnspecified {
		return d, err
	}
	scopes, err := a.scopesOf(ctx, d.Record, Need{})
	if err != nil {
		return Decision{}, err
	}
	d.Allowed, d.Reason, d.Scopes = true, ReasonGranted, scopes
	return d, nil
}

// prove runs format, look-up, digest, status and network, in this order: a key
// that fails the format meets no cache and no database, and a status is told
// only to who proved the secret. It leaves d.Reason unspecified where all hold.
// An unknown prefix costs a digest too, so that time tells nothing.
func (a *Authorizer) prove(ctx context.Context, key Secret, into *Scratch, client func() (netip.Addr, bool), d *Decision, t *trace) error {
	parsed, ok := a.Format.Parse(key)
	if !ok {
		t.add("key", "malformed", "not the form of a key of ours, or its checksum is wrong")
		d.Reason = ReasonMalformed
		return nil
	}
	entry, err := a.Validator.Lookup(ctx, parsed.Prefix, into)
	switch {
	case errors.Is(err, ErrThrottled):
		t.add("key", "throttled", "too many look-ups of unknown keys just now")
		d.Reason = ReasonThrottled
		return nil
	case err != nil:
		t.add("key", "error", "the key could not be looked up")
		*d = Decision{}
		return err
	}
	d.Layer = entry.Layer
	proved := a.Peppers.Prove(entry.Verifier, key)
	switch {
	case entry.Record == nil:
		t.add("key", "unknown", parsed.Prefix)
		d.Reason = ReasonUnknown
		return nil
	case !proved:
		outcome := "wrong secret"
		if a.Peppers.Rejects(entry.Verifier) {
			outcome = "its digest was made without a pepper, which keys.require_pepper rejects"
			if a.Unpeppered != nil && t == nil {
				a.Unpeppered(parsed.Prefix)
			}
		}
		t.add("key", outcome, parsed.Prefix)
		d.Reason = ReasonWrongSecret
		return nil
	}
	d.Record = entry.Record
	if t != nil {
		t.add("key", "proved", parsed.Prefix+" ("+d.Layer.String()+")")
	}

	now := a.Now()
	switch d.Record.Status(now) {
	case StatusRevoked:
		d.Reason = ReasonRevoked
	case StatusDisabled:
		d.Reason = ReasonDisabled
	case StatusExpired:
		d.Reason = ReasonExpired
	}
	if d.Reason != ReasonUnspecified {
		t.add("status", d.Record.Status(now).String(), d.Reason.Detail())
		return nil
	}
	if len(d.Record.AllowedCIDRs) > 0 && !inNetworks(d.Record.AllowedCIDRs, client) {
		t.add("network", "refused", "the client's address is unknown or outside the key's networks")
		d.Reason = ReasonNetwork
	}
	return nil
}

func inNetworks(networks []netip.Prefix, client func() (netip.Addr, bool)) bool {
	addr, ok := client()
	if !ok {
		return false
	}
	for _, n := range networks {
		if n.Contains(addr) {
			return true
		}
	}
	return false
}
