package l1

import (
	"sync/atomic"

	"extauthz/authz"
	"extauthz/cachesvc/internal/freshness"
)

// Value is what L1 holds under one id: data where stamp.found, else the
// knowledge that there is nothing. But for its atomic parts it is not changed
// once it is shared.
type Value[T any] struct {
	freshness.Stamp
	Data T

	id         string      // set by L1
	Refreshing atomic.Bool // somebody reads it anew, ahead of its end

	scratch scratch // where what was read from L1 keeps its texts
}

// Credential is what is known of one key, and what proves it.
type Credential struct {
	Record   authz.Record
	Verifier authz.Verifier
}
