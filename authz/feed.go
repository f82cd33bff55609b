package authz

import "time"

// FeedCursor is a place in the change feed. Only the database that gave it can
// read it; the zero FeedCursor stands before the first change.
type FeedCursor struct{ XID, Version uint64 }

// Place is the cursor as one number, which grows as the feed is read.
func (c FeedCursor) Place() uint64 { return c.XID | c.Version } // one of them is 0

// Beyond tells whether whatever is read from the database after this cursor was
// taken has seen the change. It may be false for one that was seen.
func (c FeedCursor) Beyond(change Change) bool { return change.Place < c.Place() }

// FeedPage is what one read of the change feed brings: everything that is
// committed beyond the cursor. Changes that lie beyond the oldest open
// transaction come again with the next page, so that none is missed; who reads
// applies them any number of times.
type FeedPage struct {
	Epoch   string    // another one: versions and cursors from before mean nothing
	DBTime  time.Time // the database's clock during the read
	Changes []Change
	Next    FeedCursor
	Trimmed bool // the cursor lies before what is kept: load the window again
}
