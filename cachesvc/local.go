package cachesvc

import (
	"sync/atomic"

	"extauthz/authz"
	"extauthz/cachesvc/internal/freshness"
)

// value is what L1 holds under one id: data where stamp.found, else the
// knowledge that there is nothing. But for its atomic parts it is not changed
// once it is shared.
type value[T any] struct {
	freshness.Stamp
	data T

	id         string      // set by L1
	refreshing atomic.Bool // somebody reads it anew, ahead of its end

	room room // where what was read from L1 keeps its texts
}

// credential is what is known of one key, and what proves it.
type credential struct {
	record   authz.Record
	verifier authz.Verifier
}
