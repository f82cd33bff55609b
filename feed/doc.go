// Package feed is what a database and a cache agree on about the change feed: a reader's
// [Cursor], the [Page] that a read brings, and the [Snapshot] that both rest on.
//
// The contract: a cursor that goes on from page to page ([Page.Next]) brings each
// committed change once, whatever commits in between and however long a transaction stays
// open. Only the database that gave a cursor can read it, and only in the epoch that it
// was given in. What a reader does with the changes is the cache's concern.
//
// It is beside the packages that use it and below neither: package models writes pages and
// package cachesvc reads them, and the two do not import one another. Below cachesvc it
// would make the database's package depend on the cache's tree. It is not in package
// authz, since no decision needs it: what a change is about ([authz.Change]) stays there,
// because management reports its own changes in the same form, without a feed.
//
// The package has no I/O and no state. Its values are copied freely; the positions in
// [Snapshot.Open] are shared by the copies and must not be changed.
package feed
