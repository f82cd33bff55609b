// Package cachesvc is the cached validator: it answers what is known of an API
// key from memory, asks the database as seldom as it can, and never lets a key
// live on after its revocation.
//
// A look-up's way: validation.go (keys) or roles.go (roles) ask a reader
// (reader.go), which answers from L1 (local.go, table.go) or by one flight
// (flight.go) to the database. Whether a value may be believed is asked at each delivery, of
// three things: the window of recent changes (recent.go), which the change feed
// (feed.go), this replica's own writes (invalidate.go) and the epoch fill; the
// lease (lease.go), which says whether the window is complete as of a second
// ago; and the value's own lifetime.
//
// The promise: a look-up that begins after [Service.Changed] returned does not
// see the state from before, on this replica. On another one the bound is
// Config.Lease while the database can be reached, whatever else is lost, and
// Config.MaxStale when it can't. Beyond that, and for keys that nobody knows
// while the database is away, look-ups are errors, never "unknown".
//
// What it does not do: it does not judge a key (package authz does, on every
// look-up), knows no SQL, and holds nothing that can't be read again, but for
// the counts of usage that were not yet written ([Service.Flush]). Values handed
// out are shared and must not be changed.
package cachesvc
