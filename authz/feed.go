package authz

import "time"

// FeedCursor is a place in the change feed. Only the database that gave it can
// read it; the zero FeedCursor stands before the first change.
type FeedCursor struct{ XID, Version uint64 }

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
