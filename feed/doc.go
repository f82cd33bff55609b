// Package feed defines what a database and a cache share about the change feed: a
// reader's [Cursor], the [Page] that a read returns, and the [Snapshot] that both are
// based on.
//
// The contract: a reader that continues from page to page ([Page.Next]) gets each
// committed change once, whatever is committed in between and however long a transaction
// stays open. A cursor is valid only for the database that issued it, and only in the
// epoch in which it was issued. What a reader does with the changes is the cache's
// concern.
//
// Two packages use it: models writes pages and cachesvc reads them. They do not import
// one another, so this package is below neither. Below cachesvc it would make the
// database's package depend on the cache's tree. It is not in package authz either, since
// no decision needs it. Only [authz.Change], what a change is about, is there, because
// management reports its own changes in the same form, without a feed.
//
// The package has no I/O and no state. Its values may be copied. The copies share the
// positions in [Snapshot.Open], which must not be changed.
package feed
