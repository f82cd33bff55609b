package feed

import (
	"slices"
	"time"

	"extauthz/authz"
)

// Snapshot describes which changes a state of the database contains. It has the meaning
// of a snapshot in Postgres: changes of transactions that had not begun, or were open,
// are not in it. SQLite has one writer and so no open transactions: there a position is a
// version. The zero Snapshot holds no change.
type Snapshot struct {
	Next uint64   // changes whose position is this or higher are not in it
	Open []uint64 // nor are those of these positions, all lower than Next, ascending
}

// IsZero reports whether no change is in it.
func (s Snapshot) IsZero() bool { return s.Next == 0 }

// Below is the position up to which, itself not included, every change is in it.
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
	for _, position := range s.Open {
		if position < other.Next {
			if _, open := slices.BinarySearch(other.Open, position); !open {
				return false
			}
		}
	}
	return true
}

// Cursor is where a reader of the change feed is. Only the database that gave it can read
// it; the zero Cursor is before the first change.
type Cursor struct {
	Seen Snapshot // what was read completely
	// Target is the state that a read of several pages brings the reader to. It stays
	// the same from the first page to the last, so that all pages are one read of one
	// state, whatever is committed meanwhile. Zero: no read is in progress.
	Target Snapshot
	After  Row // the last row of the pages so far
}

// MaxRows is how many changes a page has at most.
const MaxRows = 5_000

// Row names a row of the feed; rows are read in this order.
type Row struct{ Position, ID uint64 }

// Partial reports whether a read is in progress: more pages remain.
func (c Cursor) Partial() bool { return !c.Target.IsZero() }

// Page is what one read of the change feed brings: committed changes that the
// cursor has not seen, each once.
type Page struct {
	Epoch    string    // another one: versions and cursors from before mean nothing
	DBTime   time.Time // the database's clock during the read
	Snapshot Snapshot  // the database's state during the read
	Changes  []authz.Change
	Next     Cursor // Partial: there are more pages
	// Version is the highest version that was given; 0 if unknown. One that is
	// lower than before in the same epoch shows that they began again from
	// somewhere before, so that the epoch has to end.
	Version uint64
	Why     string // the epoch began, for the log; "" where that is not known
	Trimmed bool   // changes that the cursor has not seen may be gone: begin anew
}

// Start is where a reader with an empty cache begins: it needs no earlier change.
type Start struct {
	Page
	// Past reads the changes of the window before Next, for a reader that is about to use
	// what others have cached meanwhile.
	Past Cursor
}
