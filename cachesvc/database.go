package cachesvc

import (
	"context"
	"time"

	"extauthz/authz"
	"extauthz/cachesvc/internal/l1"
	"extauthz/feed"
)

// Keys finds a key by its public prefix. It reads the primary: a lagging replica would
// return revoked keys as valid. No such key is authz.ErrNotFound.
type Keys interface {
	KeyByPrefix(ctx context.Context, prefix string) (authz.Record, authz.Verifier, error)
}

// Roles finds roles by name; those that do not exist are left out.
type Roles interface {
	Roles(ctx context.Context, names []string) ([]authz.Role, error)
}

// Feed reads the change feed.
type Feed interface {
	// FeedStart returns the present feed position, and how to read the changes of the
	// last window of time.
	FeedStart(ctx context.Context, window time.Duration) (feed.Start, error)
	// ReadFeed returns a page of at most this many committed changes that the cursor has
	// not seen.
	ReadFeed(ctx context.Context, from feed.Cursor, rows int) (feed.Page, error)
	// EndEpoch gives the database a new epoch if it still has this one. It is called
	// when the database holds an older state than was read from it before.
	EndEpoch(ctx context.Context, epoch string) error
}

// UsageSink adds to what is stored of each key's usage. Count is an increment;
// LastUsedAt moves forward only.
type UsageSink interface {
	// Batches that were added before are left out; added counts the uses of the
	// others.
	AddUsage(ctx context.Context, batches []authz.UsageBatch) (added uint64, err error)
}

// MostUsed finds the keys that are worth reading in advance.
type MostUsed interface {
	// MostUsed calls yield with up to limit keys, the most used first; its error
	// ends it.
	MostUsed(ctx context.Context, limit int, yield func(authz.Record, authz.Verifier) error) error
}

// Database is all that this package needs of a database.
type Database interface {
	Keys
	Roles
	Feed
	UsageSink
}

// Members lists the prefixes of all keys.
type Members interface {
	// Prefixes calls yield with each; its error ends it. It need be no snapshot,
	// but what was there all the while must come.
	Prefixes(ctx context.Context, yield func(prefix string) error) error
}

// loader reads one kind of value from the database. Every look-up that neither L1 nor the
// shared store answers goes through one: reading several ids with one statement would be
// another loader, and nothing else would change.
type loader[T any] interface {
	// load returns what is stored under id: authz.ErrNotFound if there is nothing,
	// authz.ErrUnreadable for a row that can't be read. Safe for concurrent use.
	load(ctx context.Context, id string) (data T, version uint64, err error)
}

// keyLoader loads a key by its prefix.
type keyLoader struct{ db Keys }

func (l keyLoader) load(ctx context.Context, prefix string) (l1.Credential, uint64, error) {
	record, verifier, err := l.db.KeyByPrefix(ctx, prefix)
	return l1.Credential{Record: record, Verifier: verifier}, record.Version, err
}

// roleLoader loads a role by its name.
type roleLoader struct{ db Roles }

func (l roleLoader) load(ctx context.Context, name string) (authz.Role, uint64, error) {
	roles, err := l.db.Roles(ctx, []string{name})
	switch {
	case err != nil:
		return authz.Role{}, 0, err
	case len(roles) == 0:
		return authz.Role{}, 0, authz.ErrNotFound
	}
	return roles[0], roles[0].Version, nil
}
