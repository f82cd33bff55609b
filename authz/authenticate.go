package authz

import (
	"context"
	"errors"
	"net/netip"
)

// Authenticate verifies a key alone, for callers that have no route: the management API.
// It judges format, digest, status and network, but no scopes. A denial is a Decision; an
// error means that no decision could be made.
func (a *Authorizer) Authenticate(ctx context.Context, key Secret, client netip.Addr) (Decision, error) {
	var d Decision
	reason, err := a.verifyKey(ctx, key, nil, &d, nil)
	if err != nil {
		return Decision{}, err
	}
	if reason == ReasonUnspecified && len(d.Record.AllowedCIDRs) > 0 && !inNetworks(d.Record.AllowedCIDRs, client.Unmap()) {
		reason = ReasonNetwork
	}
	if reason != ReasonUnspecified {
		d.Reason = reason
		return d, nil
	}
	scopes, err := a.scopesOf(ctx, d.Record, Need{})
	if err != nil {
		return Decision{}, err
	}
	d.Allowed, d.Reason, d.Scopes = true, ReasonGranted, scopes
	return d, nil
}

// verifyKey judges format, digest and status, in this order: a key that fails the format
// costs neither the cache nor the database anything, and only a client that has the
// secret learns the status. It returns why the key is not valid. For a valid key it
// returns ReasonUnspecified and sets d.Record.
func (a *Authorizer) verifyKey(ctx context.Context, key Secret, scratch *Scratch, d *Decision, t *trace) (Reason, error) {
	parsed, ok := a.Format.Parse(key)
	if !ok {
		t.add("key", "malformed", "not in this service's key format, or its checksum is wrong")
		return ReasonMalformed, nil
	}
	entry, err := a.Validator.Lookup(ctx, parsed.Prefix, scratch)
	if errors.Is(err, ErrThrottled) {
		t.add("key", "throttled", "too many look-ups of unknown keys just now")
		return ReasonThrottled, nil
	}
	if err != nil {
		t.add("key", "error", "the key could not be looked up")
		return ReasonUnspecified, err
	}
	d.Layer = entry.Layer
	if reason := a.verifySecret(&entry, parsed.Prefix, key, t); reason != ReasonUnspecified {
		return reason, nil
	}
	d.Record = entry.Record
	if t != nil {
		t.add("key", "verified", parsed.Prefix+" ("+d.Layer.String()+")")
	}
	return statusReason(d.Record.Status(a.Now()), t), nil
}

// verifySecret compares the key with the stored digest. An unknown prefix costs a digest
// as well, so that the time of an answer does not show whether a prefix exists.
func (a *Authorizer) verifySecret(entry *Entry, prefix string, key Secret, t *trace) Reason {
	verified := a.Peppers.Verify(entry.Verifier, key)
	if entry.Record == nil {
		t.add("key", "unknown", prefix)
		return ReasonUnknown
	}
	if verified {
		return ReasonUnspecified
	}
	outcome := "wrong secret"
	if a.Peppers.Rejects(entry.Verifier) {
		outcome = "its digest was made without a pepper, which keys.require_pepper rejects"
		if a.Unpeppered != nil && t == nil {
			a.Unpeppered(prefix)
		}
	}
	t.add("key", outcome, prefix)
	return ReasonWrongSecret
}

// statusReason returns why a key with this status is not valid, or ReasonUnspecified if
// the key is valid.
func statusReason(status Status, t *trace) Reason {
	reason := ReasonUnspecified
	switch status {
	case StatusRevoked:
		reason = ReasonRevoked
	case StatusDisabled:
		reason = ReasonDisabled
	case StatusExpired:
		reason = ReasonExpired
	}
	if reason != ReasonUnspecified {
		t.add("status", status.String(), reason.Detail())
	}
	return reason
}

// inNetworks reports whether one of the networks contains the address. No network
// contains the zero Addr.
func inNetworks(networks []netip.Prefix, addr netip.Addr) bool {
	for _, n := range networks {
		if n.Contains(addr) {
			return true
		}
	}
	return false
}
