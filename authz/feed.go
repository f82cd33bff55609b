package authz

import (
	"slices"
	"time"
)

// Snapshot describes which changes a state of the database contains. It has the meaning
// of a snapshot in Postgres: changes of transactions that had not begun, or were open,
// are not in it. SQLite has one writer and so no open transactions: there a place is a
// version. The zero Snapshot holds no change.
type Snapshot struct {
	Next uint64   // changes whose place is this or higher are not in it
	Open []uint64 // nor are those of these places, all lower than Next, ascending
}

// IsZero reports whether no change is in it.
func (s Snapshot) IsZero() bool { return s.Next == 0 }

// Below is the place up to which, itself not included, every change is in it.
func (s Snapshot) Below() uint64 {
	if len(s.Open) > 0 {
		return s.Open[0]
	}
	return s.Next
}

// Covers reports whether all changes that are in other are in s. It may be false
// where the transactions that s lacks have changed nothing.
func (s Snapshot) Covers(other Snapshot) bool {
	if s.Next < other.Next {
		return false
	}
	for _, place := range s.Open {
		if place < other.Next {
			if _, open := slices.BinarySearch(other.Open, place); !open {
				return false
			}
		}
	}
	return true
}

// FeedCursor is a place in the change feed. Only the database that gave it can read
// it; the zero FeedCursor is before the first change.
type FeedCursor struct {
	Seen Snapshot // what was read completely
	// Target is the state that a read of several pages brings the reader to. It stays
	// the same from the first page to the last, so that all pages are one read of one
	// state, whatever is committed meanwhile. Zero: no read is in progress.
	Target Snapshot
	After  FeedRow // the last row of the pages so far
}

// MaxFeedRows is how many changes a page has at most.
const MaxFeedRows = 5_000

// FeedRow names a row of the feed; rows are read in this order.
type FeedRow struct{ Place, ID uint64 }

// Partial reports whether a read is in progress: more pages remain.
func (c FeedCursor) Partial() bool { return !c.Target.IsZero() }

// FeedPage is what one read of the change feed brings: committed changes that the
// cursor has not seen, each once.
type FeedPage struct {
	Epoch    string    // another one: versions and cursors from before mean nothing
	DBTime   time.Time // the database's clock during the read
	Snapshot Snapshot  // the database's state during the read
	Changes  []Change
	Next     FeedCursor // Partial: there are more pages
	// Version is the highest version that was given; 0 if unknown. One that is
	// lower than before in the same epoch shows that they began again from
	// somewhere before, so that the epoch has to end.
	Version uint64
	Why     string // the epoch began, for the log; "" where nothing is known of it
	Trimmed bool   // changes that the cursor has not seen may be gone: begin anew
}

// FeedStart is where a reader with an empty cache begins: it needs no earlier change.
type FeedStart struct {
	FeedPage
	// Past reads the changes of the window before Next, for a reader that is about to use
	// what others have cached meanwhile.
	Past FeedCursor
}
