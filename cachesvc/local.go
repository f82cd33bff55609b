package cachesvc

import (
	"sync/atomic"
	"time"
)

// value is what L1 holds under one id: data where stamp.found, else the
// knowledge that there is nothing. But for its atomic parts it is not changed
// once it is shared.
type value[T any] struct {
	stamp
	data T

	id         string      // set by L1
	refreshing atomic.Bool // somebody reads it anew, ahead of its end

	room room // where what was read from L1 keeps its texts
}

// local is one name space of L1. It keeps values, it does not judge them
// ([recent] does). Implementations are bounded by entries and bytes and safe for
// concurrent use; none keeps an id or a value that it is given.
type local[T any] interface {
	// get returns a value that others have too, or one of the caller's own: into,
	// or a new one where that is nil. into holds nothing that is still in use.
	get(id string, into *value[T]) *value[T]
	put(id string, v *value[T])
	drop(id string) bool
	// dropWhere drops what match is true for, which must not keep the value,
	// and returns how many that were.
	dropWhere(match func(v *value[T]) bool) int
	// claim tells whether v is still what is held under id, and nobody has
	// claimed that before.
	claim(id string, v *value[T]) bool
	len() int
	// bytes is the memory that it takes up without a pointer in it.
	bytes() int
}

// jittered takes up to a tenth off a lifetime, so that what was filled together
// does not expire together, and nothing outlives its lifetime.
func jittered(ttl time.Duration, random float64) time.Duration {
	return ttl - time.Duration(random*float64(ttl)/10)
}
