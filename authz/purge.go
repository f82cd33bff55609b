package authz

import (
	"context"
	"time"
)

// MinRetention is the shortest retention that may be set: rows that ended a moment
// ago may still be on their way to a person or a log.
const MinRetention = time.Hour

// Purge selects the rows to delete: those that ended, or were written, at least the given
// duration ago, by the database's clock. Rows of a kind whose duration is 0 stay.
type Purge struct {
	RevokedKeys     time.Duration // since their revocation
	ExpiredKeys     time.Duration // since their expiry, or the end of their grace
	AuditEntries    time.Duration // since they were written
	IdempotencyKeys time.Duration // since they were used first
	Usage           time.Duration // of keys that are gone, since the last use

	// Keep names prefixes whose keys stay whatever their state: a key that a
	// file still names could otherwise be made again from that file.
	Keep []string
	// DryRun counts what would be deleted, and changes nothing.
	DryRun bool
	// By names the actor, for the audit: Actor, ActorName, RequestID and Source.
	By AuditEntry
	// Instance is the replica that purges by itself. It stops if another replica is in
	// charge of deletion. Empty: an administrator asked for the purge.
	Instance string
	// Pace bounds how fast keys are deleted; nil: there is no bound.
	Pace Pacer
	// Budget is the time after which a call returns with Purged.More; 0: the call runs
	// to the end.
	Budget time.Duration
	// After is Purged.After of the previous call, which this one continues.
	After string
}

// Purged is what was deleted, or, in a dry run, would be.
type Purged struct {
	RevokedKeys, ExpiredKeys, AuditEntries, IdempotencyKeys, Usage int64

	At    time.Time // the database's time from which the durations were counted back
	More  bool      // the budget ended first: call again with After
	After string
}

// Total is the number of all rows.
func (p Purged) Total() int64 {
	return p.RevokedKeys + p.ExpiredKeys + p.AuditEntries + p.IdempotencyKeys + p.Usage
}

// Add adds the counts of another call.
func (p *Purged) Add(q Purged) {
	p.RevokedKeys += q.RevokedKeys
	p.ExpiredKeys += q.ExpiredKeys
	p.AuditEntries += q.AuditEntries
	p.IdempotencyKeys += q.IdempotencyKeys
	p.Usage += q.Usage
}

// Pacer bounds how fast keys are deleted, since every replica remembers each
// deleted key for as long as the change feed is kept.
type Pacer interface {
	// Wait returns when more keys may be deleted, or ctx's error.
	Wait(ctx context.Context) error
	// Deleted records how many keys a transaction has deleted.
	Deleted(keys int)
}
