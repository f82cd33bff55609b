package cachesvc

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"testing"
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
	log        []authz.Change
	open       map[uint64]bool // versions of transactions that are not over
	trimmed    uint64          // changes up to this version are gone from the log
	usage      map[string]authz.Usage
	usageMarks map[batchID]bool
	ahead      time.Duration // of the local clock

	keyReads, roleReads int
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
func (d *database) finish(version uint64, prefix string, edit func(*authz.Record)) []authz.Change {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.open, version)
	r, ok := d.keys[prefix]
	if !ok {
		r = authz.Record{ID: "id-" + prefix, UserID: "user-" + prefix, Prefix: prefix, Active: true}
	}
	c := authz.Change{Version: version - d.behind, Kind: authz.ChangeKey, Prefix: prefix, KeyID: r.ID, UserID: r.UserID, Place: version - 1, At: time.Now().Add(d.ahead)}
	delete(d.keys, prefix)
	if edit != nil {
		edit(&r)
		r.Version = version - d.behind
		d.keys[prefix] = r
	}
	d.log = append(d.log, c)
	return []authz.Change{c}
}

func (d *database) commitRole(name string, scopes authz.Scopes) []authz.Change {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.version++
	d.roles[name] = authz.Role{Name: name, Scopes: scopes, Version: d.version}
	c := authz.Change{Version: d.version, Kind: authz.ChangeRole, Role: name, Place: d.version - 1}
	d.log = append(d.log, c)
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
	was, version, keys, log := d.epoch, d.version, maps.Clone(d.keys), slices.Clone(d.log)
	return func(epoch string) {
		d.mu.Lock()
		defer d.mu.Unlock()
		if epoch == "" {
			epoch = was
		}
		d.epoch, d.version, d.keys, d.log = epoch, version, maps.Clone(keys), slices.Clone(log)
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

func (d *database) page(from uint64) authz.FeedPage {
	d.mu.Lock()
	defer d.mu.Unlock()
	next := d.version
	for version := range d.open { // the cursor stays before all that may still come
		next = min(next, version-1)
	}
	p := authz.FeedPage{Epoch: d.epoch, DBTime: time.Now().Add(d.ahead), Next: authz.FeedCursor{Version: next}, Version: d.version - d.behind, Trimmed: from < d.trimmed}
	for _, c := range d.log {
		if c.Place >= from && c.Place >= d.trimmed {
			p.Changes = append(p.Changes, c)
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

func (c *connection) FeedStart(ctx context.Context, _ time.Duration) (authz.FeedPage, error) {
	return query(ctx, c, &c.feed, func() authz.FeedPage {
		p := c.page(0)
		p.Trimmed = false
		return p
	})
}

func (c *connection) ReadFeed(ctx context.Context, from authz.FeedCursor) (authz.FeedPage, error) {
	return query(ctx, c, &c.feed, func() authz.FeedPage { return c.page(from.Version) })
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

// start runs a service on a database until the test ends. In a synctest bubble
// it has read the feed once when start returns.
func start(t testing.TB, c Config) *Service {
	t.Helper()
	s, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	run(t, s)
	return s
}

func run(t testing.TB, s *Service) {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	<-s.Ready()
}
