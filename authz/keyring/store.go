package keyring

import (
	"context"

	"extauthz/authz"
)

// KeyStore keeps keys. Look-ups that find nothing are authz.ErrNotFound.
type KeyStore interface {
	// Mutate selects and locks keys, calls fn for what to write, and writes it with its
	// audit rows in one transaction. It returns the created keys, then the updated ones,
	// with their new versions. fn's error rolls everything back and is returned as it is;
	// fn may be called again after a conflict between transactions. Errors:
	// authz.ErrNotFound for a Ref, or one of Refs, that matches nothing;
	// authz.ErrConflict for a prefix that is taken; *authz.IdempotencyError or
	// authz.ErrIdempotencyReuse for an idempotency key that was used before.
	Mutate(ctx context.Context, sel authz.Selection, fn func(selected []authz.Record) (authz.Mutation, error)) ([]authz.Record, error)
	// KeyByRef finds a key by its id or prefix. If the key can't be read,
	// Record.Unreadable holds the reason. This is also so for the keys that Mutate
	// selects.
	KeyByRef(ctx context.Context, ref string) (authz.Record, error)
	ListKeys(ctx context.Context, filter authz.KeyFilter) ([]authz.Listed, error)
	// AdministratorsOf returns the names of the administrators that the rotation families
	// belong to, by family. A family that exists never becomes an administrator's.
	AdministratorsOf(ctx context.Context, families []string) (map[string]string, error)
}

// RoleStore reads roles; they are written by KeyStore.Mutate.
type RoleStore interface {
	// NamedRoles returns those of the named roles that exist, in any order. Unreadable
	// ones are included and marked.
	NamedRoles(ctx context.Context, names []string) ([]authz.Role, error)
	// ListRoles returns at most limit roles, sorted by name, whose names are greater than
	// after.
	ListRoles(ctx context.Context, after string, limit int) ([]authz.Role, error)
}

// History reads how keys were used, and how they were changed.
type History interface {
	// Usage leaves out keys that were never used.
	Usage(ctx context.Context, keyIDs []string) ([]authz.Usage, error)
	ListAudit(ctx context.Context, filter authz.AuditFilter) ([]authz.AuditEntry, error)
}

// Store is the service's storage.
type Store interface {
	KeyStore
	RoleStore
	History
}

// Lists caches lists of users' keys.
type Lists interface {
	// UserKeys returns all keys of a user, newest first, from a cache or, if they are not
	// cached, by load.
	UserKeys(ctx context.Context, user string, load func(context.Context) ([]authz.Record, error)) ([]authz.Record, error)
}

// Notifier receives changes after they were committed and before the method that made
// them returns. Once Changed has returned, no check that starts on this replica may be
// decided by the old state. If the new version of a role is not known (it was deleted, or
// could not be read again), the change has Version 0, and the notifier has to read the
// feed. ctx is not cancelled when the caller leaves; the notifier sets its own deadline.
type Notifier interface {
	Changed(ctx context.Context, changes []authz.Change)
}
