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
	// Version is how far versions have come; 0 where that is not known. One that
	// is lower than before in the same epoch tells that they began again from
	// somewhere before, so that the epoch has to end.
	Version uint64
	Why     string // the epoch began, for the log; "" where nothing is known of it
	Trimmed bool   // the cursor lies before what is kept: load the window again
}
