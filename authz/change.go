package authz

import (
	"errors"
	"time"
)

// Change is one row of the change feed: a key or role that decisions rest on has reached
// Version. The Change names what to read again; it does not contain the new state.
type Change struct {
	Version uint64
	Kind    ChangeKind
	Prefix  string // of the key, for ChangeKey
	KeyID   string // of the key, for ChangeKey
	UserID  string // of the key, for ChangeKey
	Role    string // name, for ChangeRole

	// Position is the position of the change in the feed, as the database counts (package
	// feed). It is 0 if the change did not come from the feed.
	Position uint64

	// At is when the database wrote the change, by the database's clock. It shows how
	// late a replica receives the change. Zero if unknown.
	At time.Time
}

// ChangeKind is the subject of a [Change].
type ChangeKind uint8

// The kinds of change that the feed carries.
const (
	ChangeKey ChangeKind = iota + 1
	ChangeRole
)

// NewKey is a key that is to be stored: its record and what verifies it.
type NewKey struct {
	Record   Record
	Verifier Verifier
}

// Selection selects the keys of a [Mutation]; exactly one field is set, or none to
// select no key (a creation).
type Selection struct {
	Ref    string   // id or prefix of one key
	Refs   []string // ids or prefixes of several keys
	Family string   // all members of a family
	UserID string   // all keys of a user

}

// Mutation is everything that one management call writes, in one transaction:
// all of it is stored, or nothing.
type Mutation struct {
	Create []NewKey
	// Update changes keys by ID. Every column but the verifier is written. Of an
	// unreadable key only the columns that end it are written.
	Update []Record
	// PutRoles creates or replaces roles. Version 0 creates a role; if one of that name
	// exists, the error is ErrConflict. Any other Version is that of the role to replace;
	// if the stored role has another version by now, the error is ErrPreconditionFailed.
	PutRoles    []Role
	DeleteRoles []string
	Audit       []AuditEntry
	Idempotency *Idempotency // of a creation, nil otherwise
}

// Idempotency is a client's promise that calls with the same Key are one call.
type Idempotency struct {
	Principal   string // the caller's id
	Key         string // the header's value, 1 to 255 bytes
	Fingerprint []byte // SHA-256 of the request
	KeyID       string // the key that was made
	At          time.Time
}

// AuditEntry is one change and its actor. It is written in the same transaction as the
// change. Detail never holds a key, secret or digest.
type AuditEntry struct {
	ID        string // UUIDv7
	At        time.Time
	Actor     string // id of the administrator, or "system"
	ActorName string // the administrator's name, for people
	Action    string // "key.create", "key.revoke", "role.update", ...
	KeyID     string // empty for a role
	Prefix    string
	UserID    string
	Role      string // a role's name, or a management role's
	// Administrator is the id of the administrator that was changed; empty for others.
	Administrator string
	RequestID     string
	Source        string            // client address
	Detail        map[string]string // changed fields: name -> "old -> new"
}

// KeyFilter chooses keys for a list. Zero fields choose everything.
type KeyFilter struct {
	UserID      string
	Project     string
	Projects    []string // one of these; nil for all
	ActiveOnly  bool     // status active at Now
	Now         time.Time
	UnusedSince time.Time // last used before this or never, and created before this
	Text        string    // the beginning of a prefix, name (in any case) or user id; it orders the list too
	WithUsage   bool      // fill Usage in the answer
	After       string    // id of the last key of the previous page
	Limit       int       // 1 to 1000
}

// Listed is a key in a list, with its usage where it was asked for.
type Listed struct {
	Record
	Usage *Usage
}

// Usage is how a key was used. It never changes a record's version.
type Usage struct {
	KeyID      string
	Count      uint64
	LastUsedAt time.Time
}

// UsageBatch is usage that the database adds once, however often the batch is written.
// Source and Sequence identify the batch.
type UsageBatch struct {
	Source   string // of one process; new batches have higher sequences
	Sequence uint64 // from 1 on
	Usage    []Usage
}

// Uses is the number of uses in the batch.
func (b UsageBatch) Uses() (n uint64) {
	for _, u := range b.Usage {
		n += u.Count
	}
	return n
}

// AuditFilter chooses audit entries, newest first.
type AuditFilter struct {
	KeyID, UserID, Actor, Action string
	Administrator                string // the subject's id
	Since                        time.Time
	Before                       string // id of the last entry of the previous page
	Limit                        int    // 1 to 1000
}

// The errors of a store when a mutation or a look-up can't be done. Each is wrapped in an
// error that names its subject.
var (
	ErrNotFound           = errors.New("not found")
	ErrUnreadable         = errors.New("stored row can't be read") // the store answered, but one row is damaged
	ErrConflict           = errors.New("already exists")
	ErrPreconditionFailed = errors.New("changed in the meantime")
	ErrIdempotencyReplay  = errors.New("already done under this idempotency key")
	ErrIdempotencyReuse   = errors.New("idempotency key was used for another request")
)

// IdempotencyError carries the key that an earlier call made under the same
// idempotency key; errors.Is finds ErrIdempotencyReplay in it.
type IdempotencyError struct{ KeyID string }

func (e *IdempotencyError) Error() string { return ErrIdempotencyReplay.Error() }

// Unwrap makes errors.Is(err, ErrIdempotencyReplay) true.
func (e *IdempotencyError) Unwrap() error { return ErrIdempotencyReplay }
