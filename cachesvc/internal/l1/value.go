package l1

import (
	"sync/atomic"

	"extauthz/authz"
	"extauthz/cachesvc/internal/freshness"
)

// Value is what a table holds under one id. If Found is true it holds Data, otherwise it
// is a negative entry: there is nothing under the id. Once a value is shared, only its
// atomic parts change.
type Value[T any] struct {
	freshness.Stamp
	Data T

	id         string      // set by the table
	Refreshing atomic.Bool // a refresh ahead has begun

	scratch scratch // holds the texts of a value that was read from a table
}

// Credential is the record of one key, and the verifier of its secret.
type Credential struct {
	Record   authz.Record
	Verifier authz.Verifier
}
