// Package cachesvc is the cached validator: it looks up API keys in memory, reads the
// database as seldom as it can, and never serves a key after its revocation.
//
// Its jobs, a file each:
//
//   - look-ups: of keys (validation.go) and of roles (roles.go, with the scope
//     cache in scopes.go), by a reader (reader.go) that answers from L1 or by one
//     flight (flight.go) to the shared store and the database (database.go)
//   - lists of a user's keys (userkeys.go)
//   - invalidation (invalidate.go), by the change feed (feed.go), by this
//     replica's own writes, and by notifications of other replicas (notify.go)
//   - refusing forged keys without a look-up (membership.go, inquiry.go)
//   - warming (warm.go)
//   - monitoring (health.go, status.go, replicaseals.go)
//   - statistics (stats.go, metrics.go)
//
// Each job rests on packages of its own: internal/freshness decides whether a value may
// be used, internal/l1 holds values in process, internal/remote calls the shared store,
// package seal makes the values in it trustworthy, and internal/usage counts uses.
// trust.go joins freshness to the readers: each delivery tests whether the value may be
// used, by the window of recent changes, the lease, and the value's own lifetime.
//
// The promise: a look-up that begins after [Service.Changed] returned does not see the
// state from before, on this replica. On another one the bound is Config.Lease while the
// database can be reached, whatever else is lost, and Config.MaxStale when it can't.
// Beyond that, and for keys that no layer knows while the database is unreachable,
// look-ups are errors, never "unknown".
//
// What it does not do: it does not judge a key (package authz does, on every
// look-up), knows no SQL, and holds nothing that can't be read again, except for
// the counts of usage that were not yet written ([Service.Flush]). Values that it
// returns are shared and must not be changed.
package cachesvc
