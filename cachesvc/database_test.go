package cachesvc

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"extauthz/authz"
)

var errAway = errors.New("the database is away")

// database is a database in memory, with versions and a change feed.
type database struct {
	mu         sync.Mutex
	epoch      string
	version    uint64
	behind     uint64 // by how much versions are lower than places, since they were set back
	keys       map[string]authz.Record
	roles      map[string]authz.Role
	log        []authz.Change  // by place
	open       map[uint64]bool // transactions that are not over, by the first of their versions
	trimmed    uint64          // changes of transactions before this one are gone from the log
	pages      int             // rows of a page of the feed at most; 0 is as many as are asked for
	marks      []feedMark
	usage      map[string]authz.Usage
	usageMarks map[batchID]bool
	ahead      time.Duration // of the local clock

	keyReads, roleReads int
}

// feedMark is the state at a moment.
type feedMark struct {
	at   time.Time
	seen authz.Snapshot
}

func newDatabase() *database {
	return &database{epoch: "one", keys: map[string]authz.Record{}, roles: map[string]authz.Role{}, usage: map[string]authz.Usage{}, usageMarks: map[batchID]bool{}, open: map[uint64]bool{}}
}

// commit stores a key under a new version; a nil edit deletes it.
func (d *database) commit(prefix string, edit func(*authz.Record)) []authz.Change {
	return d.finish(d.begin(), prefix, edit)
}

// begin begins a transaction with its first change, whose version is taken now.
func (d *database) begin() (version uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.version++
	d.open[d.version] = true
	return d.version
}

// finish commits what begin began.
func (d *database) finish(place uint64, prefix string, edit func(*authz.Record)) []authz.Change {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.open, place)
	return []authz.Change{d.change(place, place, prefix, edit)}
}

// finishAll commits many changes in the transaction that begin began.
func (d *database) finishAll(place uint64, edits map[string]func(*authz.Record)) (changes []authz.Change) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.open, place)
	for _, prefix := range slices.Sorted(maps.Keys(edits)) {
		d.version++
		changes = append(changes, d.change(place, d.version, prefix, edits[prefix]))
	}
	return changes
}

func (d *database) change(place, version uint64, prefix string, edit func(*authz.Record)) authz.Change {
	r, ok := d.keys[prefix]
	if !ok {
		r = authz.Record{ID: "id-" + prefix, UserID: "user-" + prefix, Prefix: prefix, Active: true}
	}
	c := authz.Change{Version: version - d.behind, Kind: authz.ChangeKey, Prefix: prefix, KeyID: r.ID, UserID: r.UserID, Place: place, At: time.Now().Add(d.ahead)}
	delete(d.keys, prefix)
	if edit != nil {
		edit(&r)
		r.Version = version - d.behind
		d.keys[prefix] = r
	}
	d.append(c)
	return c
}

// append keeps the log by place, as the feed is read.
func (d *database) append(c authz.Change) {
	i := len(d.log)
	for i > 0 && d.log[i-1].Place > c.Place {
		i--
	}
	d.log = slices.Insert(d.log, i, c)
}

func (d *database) commitRole(name string, scopes authz.Scopes) []authz.Change {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.version++
	d.roles[name] = authz.Role{Name: name, Scopes: scopes, Version: d.version}
	c := authz.Change{Version: d.version, Kind: authz.ChangeRole, Role: name, Place: d.version}
	d.append(c)
	return []authz.Change{c}
}

func as(*authz.Record)          {}
func revoked(r *authz.Record)   { r.RevokedAt = time.Now() }
func named(r *authz.Record)     { r.Name += "x" }
func live(r *authz.Record) bool { return r != nil && r.Status(time.Now()) == authz.StatusActive }

// backup returns a function that restores what is there now, under another epoch
// or, as a copy of the files would, under the one it was in.
func (d *database) backup() (restore func(epoch string)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	was, version, keys, log, marks := d.epoch, d.version, maps.Clone(d.keys), slices.Clone(d.log), slices.Clone(d.marks)
	return func(epoch string) {
		d.mu.Lock()
		defer d.mu.Unlock()
		if epoch == "" {
			epoch = was
		}
		d.epoch, d.version, d.keys, d.log, d.marks = epoch, version, maps.Clone(keys), slices.Clone(log), slices.Clone(marks)
		clear(d.open)
	}
}

func (d *database) inEpoch() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.epoch
}

func (d *database) at() (version uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.version
}

// alive returns the prefixes of the keys that are, sorted.
func (d *database) alive() (prefixes []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for prefix, record := range d.keys {
		if live(&record) {
			prefixes = append(prefixes, prefix)
		}
	}
	slices.Sort(prefixes)
	return prefixes
}

func (d *database) snapshot() authz.Snapshot {
	return authz.Snapshot{Next: d.version + 1, Open: slices.Sorted(maps.Keys(d.open))}
}

// holds tells whether a snapshot holds the changes of a transaction.
func holds(s authz.Snapshot, place uint64) bool {
	return place < s.Next && !slices.Contains(s.Open, place)
}

func (d *database) page(from authz.FeedCursor, rows int) authz.FeedPage {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := d.snapshot()
	if n := len(d.marks); n == 0 || time.Since(d.marks[n-1].at) > time.Second {
		d.marks = append(d.marks, feedMark{time.Now(), now})
	}
	p := authz.FeedPage{Epoch: d.epoch, DBTime: time.Now().Add(d.ahead), Snapshot: now, Version: d.version - d.behind, Trimmed: !from.Seen.Covers(authz.Snapshot{Next: d.trimmed})}
	target := from.Target
	if !from.Partial() {
		target = now
	}
	if d.pages > 0 {
		rows = min(rows, d.pages)
	}
	p.Next = authz.FeedCursor{Seen: target}
	row := authz.FeedRow{}
	for _, c := range d.log {
		if row.ID++; c.Place != row.Place {
			row = authz.FeedRow{Place: c.Place, ID: 1}
		}
		if after := from.After; row.Place < after.Place || row.Place == after.Place && row.ID <= after.ID {
			continue
		}
		if c.Place < d.trimmed || holds(from.Seen, c.Place) || !holds(target, c.Place) {
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

// connection is one replica's way to the database. What it does to each query
// can be set: how long it takes before and after the state was read, and
// whether it fails.
type connection struct {
	*database
	mu     sync.Mutex
	lookup func() (before, after time.Duration, err error)
	feed   func() (before, after time.Duration, err error)
	list   func() (before, after time.Duration, err error)
	sink   func() (before, after error) // an error after it was written leaves the writer not knowing
}

func (d *database) connect() *connection {
	well := func() (time.Duration, time.Duration, error) { return 0, 0, nil }
	return &connection{database: d, lookup: well, feed: well, list: well, sink: func() (error, error) { return nil, nil }}
}

func (c *connection) set(f func(*connection)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f(c)
}

func query[T any](ctx context.Context, c *connection, weather *func() (time.Duration, time.Duration, error), read func() T) (result T, err error) {
	c.mu.Lock()
	before, after, err := (*weather)()
	c.mu.Unlock()
	if pauseErr := pause(ctx, before); pauseErr != nil || err != nil {
		return result, errors.Join(pauseErr, err)
	}
	result = read()
	return result, pause(ctx, after)
}

func pause(ctx context.Context, d time.Duration) error {
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

func (c *connection) KeyByPrefix(ctx context.Context, prefix string) (authz.Record, authz.Verifier, error) {
	r, err := query(ctx, c, &c.lookup, func() *authz.Record {
		c.database.mu.Lock()
		defer c.database.mu.Unlock()
		c.keyReads++
		if r, ok := c.keys[prefix]; ok {
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

func (c *connection) Roles(ctx context.Context, names []string) ([]authz.Role, error) {
	return query(ctx, c, &c.lookup, func() (roles []authz.Role) {
		c.database.mu.Lock()
		defer c.database.mu.Unlock()
		c.roleReads++
		for _, name := range names {
			if r, ok := c.roles[name]; ok {
				roles = append(roles, r)
			}
		}
		return roles
	})
}

func (c *connection) FeedStart(ctx context.Context, window time.Duration) (authz.FeedStart, error) {
	return query(ctx, c, &c.feed, func() (start authz.FeedStart) {
		start.FeedPage = c.page(authz.FeedCursor{}, 1)
		start.Changes, start.Trimmed, start.Next = nil, false, authz.FeedCursor{Seen: start.Snapshot}
		start.Past.Target = start.Snapshot
		c.database.mu.Lock()
		defer c.database.mu.Unlock()
		for _, mark := range c.marks {
			if time.Since(mark.at) >= window {
				start.Past.Seen = mark.seen
			}
		}
		return start
	})
}

func (c *connection) ReadFeed(ctx context.Context, from authz.FeedCursor, rows int) (authz.FeedPage, error) {
	return query(ctx, c, &c.feed, func() authz.FeedPage { return c.page(from, rows) })
}

func (c *connection) EndEpoch(ctx context.Context, epoch string) error {
	_, err := query(ctx, c, &c.feed, func() struct{} {
		c.database.mu.Lock()
		defer c.database.mu.Unlock()
		if c.epoch == epoch {
			c.epoch += "'"
			if c.behind > 0 { // versions go on beyond all that were given, and what bears them is over
				c.behind, c.log = 0, nil
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

func (c *connection) AddUsage(ctx context.Context, batches []authz.UsageBatch) (added uint64, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	before, after := c.sink()
	if err := errors.Join(ctx.Err(), before); err != nil {
		return 0, err
	}
	c.database.mu.Lock()
	defer c.database.mu.Unlock()
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

func (d *database) used(keyID string) authz.Usage {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.usage[keyID]
}

// away makes a database take no usage, or take it again.
func (c *connection) away(away bool) {
	c.set(func(c *connection) {
		c.sink = func() (error, error) {
			if away {
				return errAway, nil
			}
			return nil, nil
		}
	})
}

// Prefixes is slow, and fails, as other queries of the connection do.
func (c *connection) Prefixes(ctx context.Context, yield func(string) error) error {
	prefixes, err := query(ctx, c, &c.list, func() (all []string) {
		c.database.mu.Lock()
		defer c.database.mu.Unlock()
		for p := range c.keys {
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
