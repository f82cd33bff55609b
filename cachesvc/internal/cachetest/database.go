package cachetest

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"extauthz/authz"
)

// ErrAway is what a connection returns that is set to fail.
var ErrAway = errors.New("the database is away")

// Database is a database in memory, with versions and a change feed.
type Database struct {
	Mu         sync.Mutex
	Epoch      string
	Version    uint64
	Behind     uint64 // by how much versions are lower than positions, since they were set back
	Keys       map[string]authz.Record
	Roles      map[string]authz.Role
	Log        []authz.Change  // by feed position
	open       map[uint64]bool // transactions that are not over, by the first of their versions
	Trimmed    uint64          // changes of transactions before this one are gone from the log
	Pages      int             // rows of a page of the feed at most; 0 is as many as are asked for
	marks      []feedMark
	usage      map[string]authz.Usage
	usageMarks map[batchID]bool
	Ahead      time.Duration // of the local clock

	KeyReads, RoleReads int
}

// feedMark is the state at a moment.
type feedMark struct {
	at   time.Time
	seen authz.Snapshot
}

// NewDatabase returns an empty database.
func NewDatabase() *Database {
	return &Database{Epoch: "one", Keys: map[string]authz.Record{}, Roles: map[string]authz.Role{}, usage: map[string]authz.Usage{}, usageMarks: map[batchID]bool{}, open: map[uint64]bool{}}
}

// Commit stores a key under a new version; a nil edit deletes it.
func (d *Database) Commit(prefix string, edit func(*authz.Record)) []authz.Change {
	return d.Finish(d.Begin(), prefix, edit)
}

// Begin begins a transaction with its first change, whose version is taken now.
func (d *Database) Begin() (version uint64) {
	d.Mu.Lock()
	defer d.Mu.Unlock()
	d.Version++
	d.open[d.Version] = true
	return d.Version
}

// Finish commits what begin began.
func (d *Database) Finish(position uint64, prefix string, edit func(*authz.Record)) []authz.Change {
	d.Mu.Lock()
	defer d.Mu.Unlock()
	delete(d.open, position)
	return []authz.Change{d.change(position, position, prefix, edit)}
}

// FinishAll commits many changes in the transaction that begin began.
func (d *Database) FinishAll(position uint64, edits map[string]func(*authz.Record)) (changes []authz.Change) {
	d.Mu.Lock()
	defer d.Mu.Unlock()
	delete(d.open, position)
	for _, prefix := range slices.Sorted(maps.Keys(edits)) {
		d.Version++
		changes = append(changes, d.change(position, d.Version, prefix, edits[prefix]))
	}
	return changes
}

func (d *Database) change(position, version uint64, prefix string, edit func(*authz.Record)) authz.Change {
	r, ok := d.Keys[prefix]
	if !ok {
		r = authz.Record{ID: "id-" + prefix, UserID: "user-" + prefix, Prefix: prefix, Active: true}
	}
	c := authz.Change{Version: version - d.Behind, Kind: authz.ChangeKey, Prefix: prefix, KeyID: r.ID, UserID: r.UserID, Place: position, At: time.Now().Add(d.Ahead)}
	delete(d.Keys, prefix)
	if edit != nil {
		edit(&r)
		r.Version = version - d.Behind
		d.Keys[prefix] = r
	}
	d.append(c)
	return c
}

// append keeps the log by position, as the feed is read.
func (d *Database) append(c authz.Change) {
	i := len(d.Log)
	for i > 0 && d.Log[i-1].Place > c.Place {
		i--
	}
	d.Log = slices.Insert(d.Log, i, c)
}

// CommitRole stores a role under a new version.
func (d *Database) CommitRole(name string, scopes authz.Scopes) []authz.Change {
	d.Mu.Lock()
	defer d.Mu.Unlock()
	d.Version++
	d.Roles[name] = authz.Role{Name: name, Scopes: scopes, Version: d.Version}
	c := authz.Change{Version: d.Version, Kind: authz.ChangeRole, Role: name, Place: d.Version}
	d.append(c)
	return []authz.Change{c}
}

// Unchanged is an edit that changes nothing.
func Unchanged(*authz.Record) {}

// Revoked is an edit that revokes a key now.
func Revoked(r *authz.Record) { r.RevokedAt = time.Now() }

// Renamed is an edit that no decision depends on.
func Renamed(r *authz.Record) { r.Name += "x" }

// IsLive reports whether there is a record that may be used now.
func IsLive(r *authz.Record) bool { return r != nil && r.Status(time.Now()) == authz.StatusActive }

// Backup returns a function that restores what is there now, under another epoch
// or, as a copy of the files would, under the one it was in.
func (d *Database) Backup() (restore func(epoch string)) {
	d.Mu.Lock()
	defer d.Mu.Unlock()
	was, version, keys, log, marks := d.Epoch, d.Version, maps.Clone(d.Keys), slices.Clone(d.Log), slices.Clone(d.marks)
	return func(epoch string) {
		d.Mu.Lock()
		defer d.Mu.Unlock()
		if epoch == "" {
			epoch = was
		}
		d.Epoch, d.Version, d.Keys, d.Log, d.marks = epoch, version, maps.Clone(keys), slices.Clone(log), slices.Clone(marks)
		clear(d.open)
	}
}

// CurrentEpoch returns the epoch under the lock.
func (d *Database) CurrentEpoch() string {
	d.Mu.Lock()
	defer d.Mu.Unlock()
	return d.Epoch
}

// CurrentVersion returns the last version that was given.
func (d *Database) CurrentVersion() (version uint64) {
	d.Mu.Lock()
	defer d.Mu.Unlock()
	return d.Version
}

// Alive returns the prefixes of the keys that are, sorted.
func (d *Database) Alive() (prefixes []string) {
	d.Mu.Lock()
	defer d.Mu.Unlock()
	for prefix, record := range d.Keys {
		if IsLive(&record) {
			prefixes = append(prefixes, prefix)
		}
	}
	slices.Sort(prefixes)
	return prefixes
}

func (d *Database) snapshot() authz.Snapshot {
	return authz.Snapshot{Next: d.Version + 1, Open: slices.Sorted(maps.Keys(d.open))}
}

// holds reports whether a snapshot contains the changes of a transaction.
func holds(s authz.Snapshot, position uint64) bool {
	return position < s.Next && !slices.Contains(s.Open, position)
}

// Page reads a page of the feed.
func (d *Database) Page(from authz.FeedCursor, rows int) authz.FeedPage {
	d.Mu.Lock()
	defer d.Mu.Unlock()
	now := d.snapshot()
	if n := len(d.marks); n == 0 || time.Since(d.marks[n-1].at) > time.Second {
		d.marks = append(d.marks, feedMark{time.Now(), now})
	}
	p := authz.FeedPage{Epoch: d.Epoch, DBTime: time.Now().Add(d.Ahead), Snapshot: now, Version: d.Version - d.Behind, Trimmed: !from.Seen.Covers(authz.Snapshot{Next: d.Trimmed})}
	target := from.Target
	if !from.Partial() {
		target = now
	}
	if d.Pages > 0 {
		rows = min(rows, d.Pages)
	}
	p.Next = authz.FeedCursor{Seen: target}
	row := authz.FeedRow{}
	for _, c := range d.Log {
		if row.ID++; c.Place != row.Place {
			row = authz.FeedRow{Place: c.Place, ID: 1}
		}
		if after := from.After; row.Place < after.Place || row.Place == after.Place && row.ID <= after.ID {
			continue
		}
		if c.Place < d.Trimmed || holds(from.Seen, c.Place) || !holds(target, c.Place) {
			continue
		}
		p.Changes = append(p.Changes, c)
		if len(p.Changes) == rows {
			p.Next = authz.FeedCursor{Seen: from.Seen, Target: target, After: row}
			break
		}
	}
	return p
}

// Connection is one replica's connection to the database. What it does to each query can
// be set: how long it takes before and after the state is read, and whether it fails.
type Connection struct {
	*Database
	mu     sync.Mutex
	Lookup func() (before, after time.Duration, err error)
	Feed   func() (before, after time.Duration, err error)
	List   func() (before, after time.Duration, err error)
	Sink   func() (before, after error) // an error after the write leaves its outcome unknown
}

// Connect returns another connection, on which every query succeeds at once.
func (d *Database) Connect() *Connection {
	ok := func() (time.Duration, time.Duration, error) { return 0, 0, nil }
	return &Connection{Database: d, Lookup: ok, Feed: ok, List: ok, Sink: func() (error, error) { return nil, nil }}
}

// Edit changes the connection under its lock.
func (c *Connection) Edit(f func(*Connection)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f(c)
}

func query[T any](ctx context.Context, c *Connection, condition *func() (time.Duration, time.Duration, error), read func() T) (result T, err error) {
	c.mu.Lock()
	before, after, err := (*condition)()
	c.mu.Unlock()
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
		c.Database.Mu.Lock()
		defer c.Database.Mu.Unlock()
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
		c.Database.Mu.Lock()
		defer c.Database.Mu.Unlock()
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
func (c *Connection) FeedStart(ctx context.Context, window time.Duration) (authz.FeedStart, error) {
	return query(ctx, c, &c.Feed, func() (start authz.FeedStart) {
		start.FeedPage = c.Page(authz.FeedCursor{}, 1)
		start.Changes, start.Trimmed, start.Next = nil, false, authz.FeedCursor{Seen: start.Snapshot}
		start.Past.Target = start.Snapshot
		c.Database.Mu.Lock()
		defer c.Database.Mu.Unlock()
		for _, mark := range c.marks {
			if time.Since(mark.at) >= window {
				start.Past.Seen = mark.seen
			}
		}
		return start
	})
}

// ReadFeed reads a page of the feed.
func (c *Connection) ReadFeed(ctx context.Context, from authz.FeedCursor, rows int) (authz.FeedPage, error) {
	return query(ctx, c, &c.Feed, func() authz.FeedPage { return c.Page(from, rows) })
}

// EndEpoch begins another epoch, unless another one did already.
func (c *Connection) EndEpoch(ctx context.Context, epoch string) error {
	_, err := query(ctx, c, &c.Feed, func() struct{} {
		c.Database.Mu.Lock()
		defer c.Database.Mu.Unlock()
		if c.Epoch == epoch {
			c.Epoch += "'"
			if c.Behind > 0 { // versions go on beyond all that were given, and what bears them is over
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
	c.mu.Lock()
	defer c.mu.Unlock()
	before, after := c.Sink()
	if err := errors.Join(ctx.Err(), before); err != nil {
		return 0, err
	}
	c.Database.Mu.Lock()
	defer c.Database.Mu.Unlock()
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

// UsageOf returns what is stored of a key's usage.
func (d *Database) UsageOf(keyID string) authz.Usage {
	d.Mu.Lock()
	defer d.Mu.Unlock()
	return d.usage[keyID]
}

// SetAway makes a database take no usage, or take it again.
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
		c.Database.Mu.Lock()
		defer c.Database.Mu.Unlock()
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
