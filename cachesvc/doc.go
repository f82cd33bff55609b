// Package cachesvc is the cached validator: it looks up API keys in memory, reads the
// database as seldom as it can, and serves no key after its revocation, within the bounds
// below.
//
// Its jobs, a file each:
//
//   - look-ups of keys (validation.go) and of roles (roles.go; their scope cache is in
//     scopes.go). A reader (reader.go) answers from L1, or else starts one flight
//     (flight.go) to the shared store and the database (database.go)
//   - lists of a user's keys (userkeys.go)
//   - invalidation (invalidate.go), by the change feed (feed.go), by this
//     replica's own writes, and by notifications of other replicas (notify.go)
//   - warming: reading the most used keys before a check needs them (warm.go)
//   - monitoring (health.go, status.go, replicaseals.go)
//   - statistics (stats.go, metrics.go)
//
// The jobs use these packages: internal/freshness decides whether a value may be used,
// internal/l1 holds values in process, internal/membership refuses forged keys without a
// look-up, internal/remote calls the shared store, package seal makes the values in it
// trustworthy, and internal/usage counts uses. trust.go joins freshness to the readers:
// each delivery tests whether the value may be used, by the window of recent changes, the
// lease, and the value's own lifetime.
//
// The promise: on the replica that made a change, a look-up that begins after
// [Service.Changed] returned does not see the state from before the change. Any other
// replica may serve that state for at most Config.Lease while the database can be
// reached, whatever else is lost, and for at most Config.MaxStale when it can't. Beyond
// that, and for keys that no layer knows while the database is unreachable, look-ups are
// errors, never "unknown".
//
// What it does not do: it does not judge a key (package authz does, on every look-up),
// knows no SQL, and holds nothing that can't be read again, except for counts of usage
// that are not yet written ([Service.Flush]). Values that it returns are shared and must
// not be changed.
package cachesvc
