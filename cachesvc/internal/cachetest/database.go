package cachetest

import (
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"extauthz/authz"
	"extauthz/feed"
)

// ErrAway is the error of a connection that is set to fail.
var ErrAway = errors.New("the database is away")

// Database is a database in memory, with versions and a change feed.
type Database struct {
	Mu         sync.Mutex
	Epoch      string
	Version    uint64
	Behind     uint64 // by how much versions are lower than feed positions, since the versions were set back
	Keys       map[string]authz.Record
	Roles      map[string]authz.Role
	Log        []authz.Change  // in the order of feed positions
	open       map[uint64]bool // transactions that are not over, by the first of their versions
	Trimmed    uint64          // changes of transactions before this one are gone from the log
	Pages      int             // rows of a page of the feed, at most; 0: as many as the reader requests
	marks      []feedMark
	usage      map[string]authz.Usage
	usageMarks map[batchID]bool
	Ahead      time.Duration // how far the database's clock is ahead of the local one

	KeyReads, RoleReads int
}

// feedMark is the feed's snapshot at a moment.
type feedMark struct {
	at   time.Time
	seen feed.Snapshot
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

// Finish commits the transaction that Begin began.
func (d *Database) Finish(position uint64, prefix string, edit func(*authz.Record)) []authz.Change {
	d.Mu.Lock()
	defer d.Mu.Unlock()
	delete(d.open, position)
	return []authz.Change{d.change(position, position, prefix, edit)}
}

// FinishAll commits many changes in the transaction that Begin began.
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
	c := authz.Change{Version: version - d.Behind, Kind: authz.ChangeKey, Prefix: prefix, KeyID: r.ID, UserID: r.UserID, Position: position, At: time.Now().Add(d.Ahead)}
	delete(d.Keys, prefix)
	if edit != nil {
		edit(&r)
		r.Version = version - d.Behind
		d.Keys[prefix] = r
	}
	d.append(c)
	return c
}

// append inserts a change into the log, which is in the order of positions, as the feed
// is read.
func (d *Database) append(c authz.Change) {
	i := len(d.Log)
	for i > 0 && d.Log[i-1].Position > c.Position {
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
	c := authz.Change{Version: d.Version, Kind: authz.ChangeRole, Role: name, Position: d.Version}
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

// Backup returns a function that restores the present state under another epoch. If that
// epoch is "", the present one is restored too, as by a copy of the files.
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

// Alive returns the prefixes of the keys that may be used now, sorted.
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

func (d *Database) snapshot() feed.Snapshot {
	return feed.Snapshot{Next: d.Version + 1, Open: slices.Sorted(maps.Keys(d.open))}
}

// holds reports whether a snapshot contains the changes of a transaction.
func holds(s feed.Snapshot, position uint64) bool {
	return position < s.Next && !slices.Contains(s.Open, position)
}

// Page reads a page of the feed.
func (d *Database) Page(from feed.Cursor, rows int) feed.Page {
	d.Mu.Lock()
	defer d.Mu.Unlock()
	now := d.snapshot()
	if n := len(d.marks); n == 0 || time.Since(d.marks[n-1].at) > time.Second {
		d.marks = append(d.marks, feedMark{time.Now(), now})
	}
	p := feed.Page{Epoch: d.Epoch, DBTime: time.Now().Add(d.Ahead), Snapshot: now, Version: d.Version - d.Behind, Trimmed: !from.Seen.Covers(feed.Snapshot{Next: d.Trimmed})}
	target := from.Target
	if !from.Partial() {
		target = now
	}
	if d.Pages > 0 {
		rows = min(rows, d.Pages)
	}
	p.Next = feed.Cursor{Seen: target}
	row := feed.Row{}
	for _, c := range d.Log {
		if row.ID++; c.Position != row.Position {
			row = feed.Row{Position: c.Position, ID: 1}
		}
		if after := from.After; row.Position < after.Position || row.Position == after.Position && row.ID <= after.ID {
			continue
		}
		if c.Position < d.Trimmed || holds(from.Seen, c.Position) || !holds(target, c.Position) {
			continue
		}
		p.Changes = append(p.Changes, c)
		if len(p.Changes) == rows {
			p.Next = feed.Cursor{Seen: from.Seen, Target: target, After: row}
			break
		}
	}
	return p
}

// UsageOf returns the usage that is stored for a key.
func (d *Database) UsageOf(keyID string) authz.Usage {
	d.Mu.Lock()
	defer d.Mu.Unlock()
	return d.usage[keyID]
}
