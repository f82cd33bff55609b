package models

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"gorm.io/gorm"

	"extauthz/authz"
)

// uniqueViolation is Postgres' code for a row that exists already.
const uniqueViolation = "23505"

const (
	creationsAtOnce = 64               // in one transaction, at most
	creationTime    = 10 * time.Second // the time that writing them may take
)

// errNotWritten is the error of all creations whose transaction ended in a panic.
var errNotWritten = errors.New("the key was not written")

// creation is a mutation that only creates keys and depends on nothing that is stored.
type creation struct {
	keys     []*keyRow // with their versions, once they are written
	audit    []auditRow
	answered chan struct{} // closed when keys and err are final
	err      error
}

// creations writes keys that are created at the same time in one transaction: while one
// transaction waits for the disk, the next creations gather. The creation that gets the
// turn writes for all that wait. Each is answered after the commit.
type creations struct {
	// commit writes all rows or none, and sets the keys' versions. With an error, refused
	// reports that certainly nothing was written.
	commit  func(ctx context.Context, keys []*keyRow, audit []auditRow) (refused bool, err error)
	turn    chan struct{} // holds one element while a caller writes
	mu      sync.Mutex
	waiting []*creation // oldest first
}

func newCreations(db *DB) *creations {
	insert := db.insertByParts
	if db.driver == Postgres {
		insert = db.insertAtOnce
	}
	commit := func(ctx context.Context, keys []*keyRow, audit []auditRow) (refused bool, err error) {
		refused, err = insert(ctx, keys, audit)
		db.recordWrite(err)
		return refused, err
	}
	return &creations{commit: commit, turn: make(chan struct{}, 1)}
}

// do writes keys, alone or with others. A caller whose context ends during the write
// still waits for it: only then is it known whether the keys exist.
func (c *creations) do(ctx context.Context, keys []*keyRow, audit []auditRow) ([]authz.Record, error) {
	own := &creation{keys: keys, audit: audit, answered: make(chan struct{}), err: errNotWritten}
	c.mu.Lock()
	c.waiting = append(c.waiting, own)
	c.mu.Unlock()
	for {
		select {
		case <-own.answered:
			if own.err != nil {
				return nil, own.err
			}
			return recordsOf(own.keys)
		case c.turn <- struct{}{}:
			c.lead(ctx, own)
		case <-ctx.Done():
			if c.withdraw(own) {
				return nil, ctx.Err()
			}
			<-own.answered
		}
	}
}

func recordsOf(rows []*keyRow) ([]authz.Record, error) {
	records := make([]authz.Record, len(rows))
	for i, r := range rows {
		var err error
		if records[i], err = r.record(); err != nil {
			return nil, err
		}
	}
	return records, nil
}

func (c *creations) withdraw(own *creation) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	i := slices.Index(c.waiting, own)
	if i < 0 {
		return false
	}
	c.waiting = slices.Delete(c.waiting, i, i+1)
	return true
}

// lead writes the creations that have waited longest, unless own was written meanwhile.
// Then it releases the turn.
func (c *creations) lead(ctx context.Context, own *creation) {
	defer func() { <-c.turn }()
	select {
	case <-own.answered:
		return
	default:
	}
	c.mu.Lock()
	n := min(len(c.waiting), creationsAtOnce)
	some := slices.Clone(c.waiting[:n])
	c.waiting = slices.Delete(c.waiting, 0, n)
	c.mu.Unlock()
	defer func() {
		for _, one := range some {
			close(one.answered)
		}
	}()
	// The others must not fail because the leader's caller went away.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), creationTime)
	defer cancel()
	c.write(ctx, some)
}

// write writes the creations in one transaction. If that is refused, it writes each by
// itself, so that none fails because of another one. After any other error it tries
// nothing again, since the commit may have taken effect.
func (c *creations) write(ctx context.Context, some []*creation) {
	var keys []*keyRow
	var audit []auditRow
	for _, one := range some {
		keys, audit = append(keys, one.keys...), append(audit, one.audit...)
	}
	refused, err := c.commit(ctx, keys, audit)
	for _, one := range some {
		if one.err = err; refused && len(some) > 1 {
			_, one.err = c.commit(ctx, one.keys, one.audit)
		}
	}
}

// insertByParts writes keys and audit entries, and reads the versions, by separate
// statements in one transaction.
func (db *DB) insertByParts(ctx context.Context, keys []*keyRow, audit []auditRow) (refused bool, err error) {
	err = db.gorm.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		err := errors.Join(insertKeys(tx, keys), insertAudit(tx, audit))
		if err == nil {
			err = readVersions(tx, keys)
		}
		refused = err != nil
		return err
	})
	return refused, err
}

func readVersions(tx *gorm.DB, keys []*keyRow) error {
	for some := range slices.Chunk(keys, rowsAtOnce) {
		ids := make([]string, len(some))
		for i, k := range some {
			ids[i] = k.ID
		}
		var rows []keyRow
		if err := tx.Select("id", "version").Where("id IN ?", ids).Find(&rows).Error; err != nil {
			return err
		}
		setVersions(some, rows)
	}
	return nil
}

func setVersions(keys []*keyRow, from []keyRow) {
	versions := make(map[string]uint64, len(from))
	for i := range from {
		versions[from[i].ID] = from[i].Version
	}
	for _, k := range keys {
		k.Version = versions[k.ID]
	}
}

// insertAtOnce does all of that by one statement, and so in one round trip, for Postgres.
// Columns of api_keys that are not the service's get their defaults.
func (db *DB) insertAtOnce(ctx context.Context, keys []*keyRow, audit []auditRow) (refused bool, err error) {
	rows, err := db.query(ctx, `WITH audited AS (INSERT INTO audit_log (`+auditColumns+`)
			SELECT `+auditColumns+` FROM json_populate_recordset(NULL::audit_log, $1))
		INSERT INTO api_keys (`+keyColumns+`) SELECT `+keyColumns+` FROM json_populate_recordset(NULL::api_keys, $2)
		RETURNING id, version`, asJSON(audit, "[]"), asJSON(keys, "[]"))
	setVersions(keys, rows)
	if answer := (*pgconn.PgError)(nil); errors.As(err, &answer) && answer.SeverityUnlocalized == "ERROR" {
		refused = true // the server has rolled it back
		if answer.Code == uniqueViolation {
			err = errTaken(keys)
		}
	}
	return refused, err
}

// query runs a statement that returns the ids and versions of keys.
func (db *DB) query(ctx context.Context, statement string, args ...any) (found []keyRow, err error) {
	rows, err := db.pools[0].QueryContext(ctx, statement, args...)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var row keyRow
		if err := rows.Scan(&row.ID, &row.Version); err != nil {
			return nil, err
		}
		found = append(found, row)
	}
	return found, rows.Err()
}
