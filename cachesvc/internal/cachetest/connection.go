package cachetest

import (
	"context"
	"errors"
	"sync"
	"time"

	"extauthz/authz"
	"extauthz/feed"
)

// Connection is one replica's connection to the database. Its effect on each query can
// be set: how long the query takes before and after the state is read, and whether it
// fails.
type Connection struct {
	*Database
	conditionMu sync.Mutex // guards the fields below; Mu guards the database
	Lookup      func() (before, after time.Duration, err error)
	Feed        func() (before, after time.Duration, err error)
	List        func() (before, after time.Duration, err error)
	Sink        func() (before, after error) // an error after the write leaves its outcome unknown
}

// Connect returns another connection, on which every query succeeds at once.
func (d *Database) Connect() *Connection {
	ok := func() (time.Duration, time.Duration, error) { return 0, 0, nil }
	return &Connection{Database: d, Lookup: ok, Feed: ok, List: ok, Sink: func() (error, error) { return nil, nil }}
}

// Edit changes the connection under its lock.
func (c *Connection) Edit(f func(*Connection)) {
	c.conditionMu.Lock()
	defer c.conditionMu.Unlock()
	f(c)
}

func query[T any](ctx context.Context, c *Connection, condition *func() (time.Duration, time.Duration, error), read func() T) (result T, err error) {
	c.conditionMu.Lock()
	before, after, err := (*condition)()
	c.conditionMu.Unlock()
	if pauseErr := Pause(ctx, before); pauseErr != nil || err != nil {
		return result, errors.Join(pauseErr, err)
	}
	result = read()
	return result, Pause(ctx, after)
}

// Pause waits for a while, or until ctx ends.
func Pause(ctx context.Context, d time.Duration) error {
	if d == 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// KeyByPrefix finds a key.
func (c *Connection) KeyByPrefix(ctx context.Context, prefix string) (authz.Record, authz.Verifier, error) {
	r, err := query(ctx, c, &c.Lookup, func() *authz.Record {
		c.Mu.Lock()
		defer c.Mu.Unlock()
		c.KeyReads++
		if r, ok := c.Keys[prefix]; ok {
			return &r
		}
		return nil
	})
	if err != nil {
		return authz.Record{}, authz.Verifier{}, err
	}
	if r == nil {
		return authz.Record{}, authz.Verifier{}, authz.ErrNotFound
	}
	return *r, authz.Verifier{Alg: authz.HashSHA256, Digest: authz.NewDigest([32]byte{})}, nil
}

// Roles finds roles.
func (c *Connection) Roles(ctx context.Context, names []string) ([]authz.Role, error) {
	return query(ctx, c, &c.Lookup, func() (roles []authz.Role) {
		c.Mu.Lock()
		defer c.Mu.Unlock()
		c.RoleReads++
		for _, name := range names {
			if r, ok := c.Database.Roles[name]; ok {
				roles = append(roles, r)
			}
		}
		return roles
	})
}

// FeedStart returns the present feed position.
func (c *Connection) FeedStart(ctx context.Context, window time.Duration) (feed.Start, error) {
	return query(ctx, c, &c.Feed, func() (start feed.Start) {
		start.Page = c.Page(feed.Cursor{}, 1)
		start.Changes, start.Trimmed, start.Next = nil, false, feed.Cursor{Seen: start.Snapshot}
		start.Past.Target = start.Snapshot
		c.Mu.Lock()
		defer c.Mu.Unlock()
		for _, mark := range c.marks {
			if time.Since(mark.at) >= window {
				start.Past.Seen = mark.seen
			}
		}
		return start
	})
}

// ReadFeed reads a page of the feed.
func (c *Connection) ReadFeed(ctx context.Context, from feed.Cursor, rows int) (feed.Page, error) {
	return query(ctx, c, &c.Feed, func() feed.Page { return c.Page(from, rows) })
}

// EndEpoch begins another epoch, unless that has happened already.
func (c *Connection) EndEpoch(ctx context.Context, epoch string) error {
	_, err := query(ctx, c, &c.Feed, func() struct{} {
		c.Mu.Lock()
		defer c.Mu.Unlock()
		if c.Epoch == epoch {
			c.Epoch += "'"
			if c.Behind > 0 { // versions continue above all that were given, and the log with the low ones ends
				c.Behind, c.Log = 0, nil
			}
		}
		return struct{}{}
	})
	return err
}

// batchID names a batch of usage.
type batchID struct {
	source   string
	sequence uint64
}

// AddUsage adds batches, each once.
func (c *Connection) AddUsage(ctx context.Context, batches []authz.UsageBatch) (added uint64, err error) {
	c.conditionMu.Lock()
	defer c.conditionMu.Unlock()
	before, after := c.Sink()
	if err := errors.Join(ctx.Err(), before); err != nil {
		return 0, err
	}
	c.Mu.Lock()
	defer c.Mu.Unlock()
	for _, b := range batches {
		id := batchID{b.Source, b.Sequence}
		if c.usageMarks[id] {
			continue
		}
		c.usageMarks[id] = true
		added += b.Uses()
		for _, u := range b.Usage {
			before := c.usage[u.KeyID]
			u.Count += before.Count
			if before.LastUsedAt.After(u.LastUsedAt) {
				u.LastUsedAt = before.LastUsedAt
			}
			c.usage[u.KeyID] = u
		}
	}
	if after != nil {
		return 0, after
	}
	return added, nil
}

// SetAway makes the database refuse usage, or accept it again.
func (c *Connection) SetAway(away bool) {
	c.Edit(func(c *Connection) {
		c.Sink = func() (error, error) {
			if away {
				return ErrAway, nil
			}
			return nil, nil
		}
	})
}

// Prefixes lists the prefixes of all keys.
func (c *Connection) Prefixes(ctx context.Context, yield func(string) error) error {
	prefixes, err := query(ctx, c, &c.List, func() (all []string) {
		c.Mu.Lock()
		defer c.Mu.Unlock()
		for p := range c.Keys {
			all = append(all, p)
		}
		return all
	})
	for _, p := range prefixes {
		if err := yield(p); err != nil {
			return err
		}
	}
	return err
}
