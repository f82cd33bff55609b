package cachesvc

import (
	"context"
	"time"

	"extauthz/authz"
	"extauthz/cachesvc/internal/l1"
	"extauthz/feed"
)

// Keys finds a key by its public prefix. It reads the primary: a lagging replica would
// return revoked keys as valid. If there is no such key, the error is authz.ErrNotFound.
type Keys interface {
	KeyByPrefix(ctx context.Context, prefix string) (authz.Record, authz.Verifier, error)
}

// Roles finds roles by name. It leaves out names of roles that do not exist.
type Roles interface {
	Roles(ctx context.Context, names []string) ([]authz.Role, error)
}

// Feed reads the change feed.
type Feed interface {
	// FeedStart returns the present feed position, and a cursor from which the changes of
	// the given time before it can be read.
	FeedStart(ctx context.Context, window time.Duration) (feed.Start, error)
	// ReadFeed returns a page of committed changes that the cursor has not seen, at most
	// rows of them.
	ReadFeed(ctx context.Context, from feed.Cursor, rows int) (feed.Page, error)
	// EndEpoch gives the database a new epoch, unless its epoch is no longer the given
	// one. It is called when the database holds an older state than was read from it
	// before.
	EndEpoch(ctx context.Context, epoch string) error
}

// UsageSink adds to the usage that is stored for each key. Count is an increment;
// LastUsedAt only moves forward.
type UsageSink interface {
	// AddUsage skips batches that were added before; added counts the uses of the others.
	AddUsage(ctx context.Context, batches []authz.UsageBatch) (added uint64, err error)
}

// MostUsed finds the keys that are worth reading in advance.
type MostUsed interface {
	// MostUsed calls yield with up to limit keys, the most used first. An error of yield
	// ends the call.
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
	// Prefixes calls yield with each prefix. An error of yield ends the call. The
	// prefixes need not be a snapshot, but each one that exists during the whole call
	// must be among them.
	Prefixes(ctx context.Context, yield func(prefix string) error) error
}

// loader reads one kind of value from the database. Every look-up that neither L1 nor the
// shared store answers goes through a loader. So only a loader would have to change if
// several ids were to be read with one statement.
type loader[T any] interface {
	// load returns the data stored under id. The error is authz.ErrNotFound if there is
	// none, and authz.ErrUnreadable for a row that can't be read. Safe for concurrent
	// use.
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
