package authz

import (
	"net/netip"
	"strings"
	"time"
)

// Record is what is known of one API key: all that a decision or a list needs, and
// nothing that verifies the key ([Verifier] does). A returned Record is shared between
// goroutines and must not be changed. Code that keeps one of its texts for long must
// clone the text, which otherwise keeps the whole record in memory.
type Record struct {
	ID     string // UUIDv7, as text
	UserID string // the principal that the key belongs to
	Name   string // free text chosen by people; may hold any Unicode
	Prefix string // public, unique, finds the key: "ak_live_4fJ9xQ2b"

	Scopes Scopes   // the key's own, canonical (see [Scopes])
	Roles  []string // names of shared scope sets, sorted
	Grants Grants   // of releases without administrators; nothing rests on it

	Active    bool      // false: disabled, or revoked where RevokedAt is set
	ExpiresAt time.Time // zero: never; of a rotated key, the end of its grace
	RevokedAt time.Time // zero: not revoked; set once, never unset

	CreatedAt time.Time
	UpdatedAt time.Time

	Environment  string // one of the configured environments: "live"
	RotatedFrom  string // id of the key that this one replaced, or empty
	Family       string // id shared by a key and all its rotations
	Project      string // free label by which administrators are limited
	AllowedCIDRs []netip.Prefix
	Metadata     map[string]string
	Rate         Rate
	// ShadowUntil is the end of the key's shadow mode, in which denials for scope,
	// network and route are only reported; zero: there is none. ShadowScopes are the
	// scopes that the administrator who set it could grant at that time; shadow mode
	// softens nothing beyond them. ShadowEnd is the end that was given first. It never
	// moves, so setting shadow mode again does not prolong it. Shadow mode counts only if
	// all three are set.
	ShadowUntil  time.Time
	ShadowEnd    time.Time
	ShadowScopes Scopes

	// Version is given by the database's trigger from one global sequence: it
	// grows with every change that matters to a decision, and with nothing
	// else. 0 in a record that was not read from a database.
	Version uint64

	// Unreadable describes what is wrong with a row that can't be read, because someone
	// wrote it by hand. The record then lacks scopes, roles, limits and grants. It is in
	// lists, and the key can be ended. No decision is based on it: the key is refused.
	Unreadable string
}

// Rate is how often a key may be used: Count requests in each Per. The zero
// Rate means no limit of its own. In text "100/s", "6000/m", "10/h".
type Rate struct {
	Count int
	Per   time.Duration
}

// Grants limits what an administrator may put on keys. What it may do itself is defined by
// its management roles. The zero value grants nothing.
type Grants struct {
	Scopes   Scopes   // may grant these and what is below them
	Projects []string // may act within these; "*" means all
	// Users are patterns of the user ids for which it may make keys, see
	// [Grants.NamesUser]; none: every user.
	Users []string `json:",omitempty"`
}

// NamesUser reports whether the grants allow keys for the user. An entry of Users is an
// id, or the beginning of ids followed by "*".
func (g *Grants) NamesUser(id string) bool {
	if len(g.Users) == 0 {
		return true
	}
	for _, pattern := range g.Users {
		if head, open := strings.CutSuffix(pattern, "*"); id == pattern || open && strings.HasPrefix(id, head) {
			return true
		}
	}
	return false
}

// Status is the state of a record at one moment.
type Status uint8

// The states of a key, in the order in which they are tested.
const (
	StatusActive Status = iota
	StatusRevoked
	StatusDisabled
	StatusExpired
)

// String returns the word shown in lists: "active", "revoked", "disabled" or
// "expired".
func (s Status) String() string {
	switch s {
	case StatusActive:
		return "active"
	case StatusRevoked:
		return "revoked"
	case StatusDisabled:
		return "disabled"
	default:
		return "expired"
	}
}

// Status returns the record's state at now. A key is expired from the very
// instant of ExpiresAt on.
func (r *Record) Status(now time.Time) Status {
	switch {
	case !r.RevokedAt.IsZero():
		return StatusRevoked
	case !r.Active:
		return StatusDisabled
	case !r.ExpiresAt.IsZero() && !now.Before(r.ExpiresAt):
		return StatusExpired
	default:
		return StatusActive
	}
}

// Role is a named set of scopes shared by many keys. Its version comes from the
// same sequence as a record's, so one edit of a role is one change, however
// many keys carry it.
type Role struct {
	Name        string
	Description string
	Scopes      Scopes
	CreatedAt   time.Time
	UpdatedAt   time.Time
	Version     uint64
	// Unreadable describes what is wrong with a row that can't be read; the role then
	// lends nothing, and its keys are refused.
	Unreadable string
}
