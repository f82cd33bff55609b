package l1

import (
	"sync/atomic"

	"extauthz/authz"
	"extauthz/cachesvc/internal/freshness"
)

// Value is what a table holds under one id: Data where Found, else the fact that there is
// nothing (a negative entry). Once it is shared, only its atomic parts change.
type Value[T any] struct {
	freshness.Stamp
	Data T

	id         string      // set by the table
	Refreshing atomic.Bool // it is being refreshed ahead of its end

	scratch scratch // holds the texts of what was read from a table
}

// Credential is what is known of one key, and what its secret is verified with.
type Credential struct {
	Record   authz.Record
	Verifier authz.Verifier
}
