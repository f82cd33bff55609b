package authz

import (
	"context"
	"errors"
	"net/netip"
	"time"
)

// Decision is the answer to one request. The zero Decision denies. It borrows strings
// from its Request, and is valid only as long as the Request is.
type Decision struct {
	Allowed bool
	Reason  Reason
	// Shadow is the reason for which the request would have been denied without shadow
	// mode; else ReasonUnspecified. If it is ReasonMissing there is no Record, as on an
	// anonymous route.
	Shadow Reason

	// Record is the key. It is set only after the secret was verified. So it is nil on
	// anonymous routes, and for unknown keys, wrong secrets and malformed keys.
	Record *Record
	Scopes Scopes // own scopes and those of the roles; set with Record when allowed

	Resource string // what the route requires; "" where no key is needed
	Action   string
	Captured bool   // a rule's wildcard put a value of the request into Resource
	Rule     *Rule  // the rule that won, nil for context extensions and defaults
	Path     string // the path judged: canonical, without query; as sent where it holds encoded data

	PathFault PathFault // for ReasonPath: the part that is refused

	// Target is the repaired request target, which has to be passed on instead of the
	// original one; "" if nothing was repaired.
	Target string

	// Credentials names where keys were found, on anonymous routes too, so that an
	// adapter can remove them. If the request is allowed, it names every place that holds
	// a whole key, unless keys are forwarded.
	Credentials []FoundCredential
	// Exposed is where a key was found that the adapter can't remove, for which the
	// request was refused (ReasonForwarding). Otherwise it is the zero value.
	Exposed CredentialSource

	// Client is the client's address. It is set only if the key's networks refuse it; the
	// zero value then means that the address is not known.
	Client netip.Addr

	Layer      Layer         // which layer knew the key
	Limit      Limit         // what is left of the key's rate, where the service enforces it
	RetryAfter time.Duration // for ReasonThrottled
}

// Detail is the public message of a denial: for a refused path that of its fault, else
// that of the reason.
func (d *Decision) Detail() string {
	if d.Reason == ReasonPath && d.PathFault != PathPlain {
		return d.PathFault.Detail()
	}
	return d.Reason.Detail()
}

// Layer names the layer that answered a look-up.
type Layer uint8

// The layers, nearest first. LayerNone: no look-up was needed.
const (
	LayerNone Layer = iota
	LayerLocal
	LayerRedis
	LayerDatabase
)

// String returns the layer's name in metrics and dynamic metadata.
func (l Layer) String() string {
	switch l {
	case LayerLocal:
		return "local"
	case LayerRedis:
		return "redis"
	case LayerDatabase:
		return "database"
	default:
		return "none"
	}
}

// Hit reports whether a cache held the key.
func (l Layer) Hit() bool { return l == LayerLocal || l == LayerRedis }

// Entry is the result of looking up a prefix. A nil Record means that there is no
// such key.
type Entry struct {
	Record   *Record
	Verifier Verifier
	Layer    Layer
}

// Validator finds what is known of a key. It is called for well-formed prefixes only.
// It never judges: the [Authorizer] tests status, digest and scopes on every check, on
// hits too.
type Validator interface {
	// Lookup finds the key with this prefix. If there is no such key, the Record is nil
	// and the error too. ErrThrottled means that look-ups of unknown keys exceed their
	// limit. Any other error means that no store could answer. The Entry may use the
	// Scratch's memory. If into is nil, the Entry's memory is never written again.
	Lookup(ctx context.Context, prefix string, into *Scratch) (Entry, error)
	// RoleScopes returns the scopes of all roles of the record together. A role that does
	// not exist grants nothing. need is the permission in question, so that a cached
	// answer can be found by it; the answer does not depend on it.
	RoleScopes(ctx context.Context, rec *Record, need Need) (Scopes, error)
}

// Scratch is memory for one look-up at a time, so that it costs no allocation. The zero
// Scratch is ready. The code that made it owns it, and may use it again once nothing that
// was read into it is in use any more, not even a single text.
type Scratch struct {
	Held any // belongs to the Validator
}

// Need is the permission that a request requires.
type Need struct {
	Resource, Action string // both "": no scope, or not known
	// Captured means that the resource holds a value that the client chose, so there may
	// be any number of such resources.
	Captured bool
}

// ErrThrottled is a Validator's error for too many unknown keys at present.
var ErrThrottled = errors.New("too many look-ups of unknown keys")

// UsageRecorder receives every allowed use of a key. It must not block.
type UsageRecorder interface {
	Used(keyID string, at time.Time)
}
