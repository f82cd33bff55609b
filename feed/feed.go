package feed

import (
	"slices"
	"time"

	"extauthz/authz"
)

// Snapshot describes which changes a state of the database contains. It has the meaning
// of a snapshot in Postgres: changes of transactions that had not begun, or were open,
// are not in it. SQLite has one writer and so no open transactions. There, a position is
// a version. The zero Snapshot holds no change.
type Snapshot struct {
	Next uint64   // changes whose position is this or higher are not in it
	Open []uint64 // nor are changes with these positions, which are ascending and lower than Next
}

// IsZero reports whether no change is in it.
func (s Snapshot) IsZero() bool { return s.Next == 0 }

// Below returns the position below which every change is in the snapshot.
func (s Snapshot) Below() uint64 {
	if len(s.Open) > 0 {
		return s.Open[0]
	}
	return s.Next
}

// Covers reports whether all changes in other are also in s. It may return false although
// no change is missing, if the transactions that s lacks have changed nothing.
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

// Cursor is a reader's position in the change feed. Only the database that issued it can
// use it. The zero Cursor is before the first change.
type Cursor struct {
	Seen Snapshot // what was read completely
	// Target is the state that a reader has reached after a read of several pages. It
	// stays the same from the first page to the last, so that all pages are one read of
	// one state, whatever is committed meanwhile. Zero: no read is in progress.
	Target Snapshot
	After  Row // the last row of the pages so far
}

// MaxRows is how many changes a page has at most.
const MaxRows = 5_000

// Row names a row of the feed; rows are read in this order.
type Row struct{ Position, ID uint64 }

// Partial reports whether a read is in progress: more pages remain.
func (c Cursor) Partial() bool { return !c.Target.IsZero() }

// Page is what one read of the change feed returns: committed changes that the cursor has
// not seen, each once.
type Page struct {
	Epoch    string    // if it has changed, earlier versions and cursors are invalid
	DBTime   time.Time // the database's clock during the read
	Snapshot Snapshot  // the database's state during the read
	Changes  []authz.Change
	Next     Cursor // if it is Partial, there are more pages
	// Version is the highest version that the database has given; 0 if unknown. If it is
	// lower than before in the same epoch, the database gives earlier versions again, so
	// the epoch has to end.
	Version uint64
	Why     string // why the epoch began, for the log; "" if not known
	Trimmed bool   // changes that the cursor has not seen may be gone: the reader has to begin anew
}

// Start is where a reader with an empty cache begins: it needs no earlier change.
type Start struct {
	Page
	// Past is a cursor that reads the changes of the window before Next. It is for a
	// reader that is about to use what other replicas have cached.
	Past Cursor
}
