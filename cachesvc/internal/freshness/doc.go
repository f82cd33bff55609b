// Package freshness decides whether a cached value may still be used.
//
// It depends on three things, and every look-up tests all of them:
//
//   - [Window] holds the last change of everything that changed lately, for longer than a
//     value can live. A value is stale if a newer version is known.
//   - [Lease] limits how long the window counts as complete, from the start of the last
//     complete read of the change feed.
//   - The value's own [Stamp] holds when it was read, from which state, and when it expires.
//
// [Clock] measures ages by monotonic time and keeps the database's time, by which keys
// expire. [Outage] remembers that the database does not answer, so that not every look-up
// has to wait to find out.
//
// The package reads nothing and holds no values: the root package reads the feed, updates
// the window and the lease, and tests each value when it is delivered. All types are safe
// for concurrent use. A test allocates nothing, and takes a lock only for topics that
// changed lately.
package freshness
