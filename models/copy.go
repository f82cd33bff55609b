package models

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"strings"

	"gorm.io/gorm"
)

const (
	// copyMark is the table that marks a database as a copy that no service has used yet.
	copyMark = "extauthz_copy"
	copyLock = 0x657874636F7079
	// One transaction of a copy writes at most so many rows and bytes, unless a single
	// row is larger.
	copyRows  = rowsAtOnce
	copyBytes = 4 << 20
	// copyMargin is the distance between the source's last version and the target's first
	// one: the source may assign more versions during the copy.
	copyMargin = 100_000
	// problemsShown bounds how many of the rows that can't be copied are named in an
	// error.
	problemsShown = 50
)

// ErrCopyUnfinished reports that a database holds only a part of another one.
var ErrCopyUnfinished = errors.New("the database holds an unfinished copy of another one: run extauthz migrate copy again until it ends well")

// CopiedTable reports what a copy found and did in one table.
type CopiedTable struct {
	Table            string `json:"table"`
	Rows             int64  `json:"rows"`    // in the source
	Written          int64  `json:"written"` // to the target
	Removed          int64  `json:"removed"` // from the target: rows of an earlier copy that have since changed or gone in the source
	TargetRows       int64  `json:"target_rows"`
	SourceSHA256     string `json:"source_sha256"` // over all rows
	TargetSHA256     string `json:"target_sha256"`
	NotCopiedColumns string `json:"not_copied_columns,omitempty"` // columns that are not extauthz's
}

// Same reports whether both databases hold the same rows.
func (t CopiedTable) Same() bool { return t.Rows == t.TargetRows && t.SourceSHA256 == t.TargetSHA256 }

// OpenSource opens a database that is to be copied and only read. An SQLite file must
// exist.
func OpenSource(ctx context.Context, c Config) (*DB, error) {
	if c.Driver == Postgres {
		return Open(ctx, c)
	}
	if info, err := os.Stat(c.DSN); err != nil || !info.Mode().IsRegular() {
		return nil, fmt.Errorf("there is no database file %s", c.DSN)
	}
	db := &DB{driver: SQLite, feed: sqliteFeed}
	var err error
	if db.read, err = db.openFile(ctx, c.DSN, sqliteSource, 2); err != nil {
		_ = db.Close()
		return nil, fmt.Errorf("database file %s can't be opened: %w", c.DSN, err)
	}
	db.gorm = db.read
	return db, nil
}

// copying is one call of [Copy] or [Verify].
type copying struct {
	from, to *DB
	rows     int     // that one transaction writes at most
	source   *sql.Tx // one snapshot
	progress func(table string, rows, of int64)
	tables   []CopiedTable
	problems []problem
	more     int // problems that are not shown
}

// Copy makes the target equal to one snapshot of the source, and verifies the result row
// by row. The target must be empty, or hold a copy that no service has used yet. Such a
// copy is brought up to date. So an interrupted copy can be run again, and a finished one
// can be repeated to catch up. The source is not written to. progress is called from time
// to time, unless it is nil.
//
// The target's versions begin beyond the source's, and its epoch is a new one. If some
// rows can't be stored, the others are copied, and the copy stays unfinished. The error
// names these rows, each on a line.
func Copy(ctx context.Context, from, to *DB, progress func(table string, rows, of int64)) ([]CopiedTable, error) {
	return newCopying(from, to, progress).copy(ctx)
}

func newCopying(from, to *DB, progress func(table string, rows, of int64)) *copying {
	if progress == nil {
		progress = func(string, int64, int64) {}
	}
	return &copying{from: from, to: to, rows: copyRows, progress: progress}
}

func (c *copying) copy(ctx context.Context) ([]CopiedTable, error) {
	if err := c.checkSource(ctx); err != nil {
		return nil, err
	}
	if err := c.to.Migrate(ctx); err != nil {
		return nil, fmt.Errorf("target: %w", err)
	}
	release, err := c.lock(ctx)
	if err != nil {
		return nil, err
	}
	defer release()
	if err := c.begin(ctx); err != nil {
		return nil, err
	}
	err = c.inSnapshot(ctx, func() error {
		if err := c.raiseVersions(ctx); err != nil {
			return err
		}
		for _, name := range copiedTables {
			if err := c.table(ctx, name, true); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil {
		err = c.verdict()
	}
	if err == nil {
		err = c.finish(ctx)
	}
	return c.tables, err
}

// Verify compares all rows of both databases, and writes to neither.
func Verify(ctx context.Context, from, to *DB, progress func(table string, rows, of int64)) ([]CopiedTable, error) {
	c := newCopying(from, to, progress)
	if err := c.checkSource(ctx); err != nil {
		return nil, err
	}
	if current, newest, err := to.MigrationStatus(ctx); err != nil || current != newest {
		return nil, errors.Join(err, errors.New("target: it has not this program's schema: nothing was copied to it yet"))
	}
	err := c.inSnapshot(ctx, func() error {
		for _, name := range copiedTables {
			if err := c.table(ctx, name, false); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil {
		err = c.verdict()
	}
	return c.tables, err
}

// verdict returns the error of an incomplete copy, or nil for a complete one.
func (c *copying) verdict() error {
	var errs []error
	for _, p := range c.problems {
		errs = append(errs, oneLine(p))
	}
	if c.more > 0 {
		errs = append(errs, fmt.Errorf("%d more rows can't be copied", c.more))
	}
	for _, t := range c.tables {
		if !t.Same() {
			errs = append(errs, fmt.Errorf("%s differs: %d rows in the source, %d in the target", t.Table, t.Rows, t.TargetRows))
		}
	}
	return errors.Join(errs...)
}

func (c *copying) bad(p problem) {
	if len(c.problems) == problemsShown {
		c.more++
		return
	}
	c.problems = append(c.problems, p)
}

// checkSource refuses a source that is not a complete database with this program's
// schema.
func (c *copying) checkSource(ctx context.Context) error {
	current, newest, err := c.from.MigrationStatus(ctx)
	switch {
	case err != nil:
		return fmt.Errorf("source: %w", oneLine(err))
	case current == 0:
		return errors.New("source: it is no database of extauthz")
	case current < newest:
		return fmt.Errorf("source: its schema has version %d, this program's is %d: run extauthz migrate up on it first", current, newest)
	case current > newest:
		return fmt.Errorf("source: its schema has version %d, made by a newer extauthz than this one, which knows %d: run the newer one", current, newest)
	}
	if finished, there, err := c.from.copyState(ctx); err != nil || there && !finished {
		return errors.Join(err, fmt.Errorf("source: %w", ErrCopyUnfinished))
	}
	return nil
}

// copyState reports whether the database has the mark of a copy (there), and whether that
// copy is finished.
func (db *DB) copyState(ctx context.Context) (finished, there bool, err error) {
	q := db.read.WithContext(ctx)
	if !q.Migrator().HasTable(copyMark) {
		return false, false, ctx.Err()
	}
	err = q.Raw("SELECT finished FROM " + copyMark + " WHERE id = 1").Row().Scan(&finished)
	if errors.Is(err, sql.ErrNoRows) {
		err = nil
	}
	return finished, true, err
}

// StartServing refuses a database with an unfinished copy. It removes the mark of a
// finished copy, so that the copy can't be repeated: from now on the database has changes
// of its own.
func (db *DB) StartServing(ctx context.Context) error {
	finished, there, err := db.copyState(ctx)
	if err != nil || !there {
		return err
	}
	if !finished {
		return ErrCopyUnfinished
	}
	return db.gorm.WithContext(ctx).Exec("DROP TABLE IF EXISTS " + copyMark).Error
}

// lock keeps a second, concurrent copy away from a Postgres target.
func (c *copying) lock(ctx context.Context) (release func(), err error) {
	if c.to.driver == SQLite {
		return func() {}, nil
	}
	tx, err := c.to.pools[0].BeginTx(ctx, nil)
	if err != nil {
		return nil, fmt.Errorf("target: %w", oneLine(err))
	}
	var alone bool
	if _, err = tx.ExecContext(ctx, "SET LOCAL idle_in_transaction_session_timeout = 0"); err == nil {
		err = tx.QueryRowContext(ctx, "SELECT pg_try_advisory_xact_lock($1::bigint)", int64(copyLock)).Scan(&alone)
	}
	if err == nil && !alone {
		err = errors.New("another copy into it is running")
	}
	if err != nil {
		_ = tx.Rollback()
		return nil, fmt.Errorf("target: %w", oneLine(err))
	}
	return func() { _ = tx.Rollback() }, nil
}

// begin marks the target as an unfinished copy. It refuses a target that holds rows which
// no copy wrote.
func (c *copying) begin(ctx context.Context) error {
	var epochs [2]string
	for i, db := range []*DB{c.from, c.to} {
		if err := db.read.WithContext(ctx).Raw("SELECT epoch FROM extauthz_meta WHERE id = 1").Row().Scan(&epochs[i]); err != nil {
			return fmt.Errorf("the epoch can't be read: %w", oneLine(err))
		}
	}
	if epochs[0] == epochs[1] {
		return errors.New("source and target are the same database, or one is a copy of the other's files: name an empty database as target")
	}
	if _, there, err := c.to.copyState(ctx); err != nil {
		return err
	} else if !there {
		if err := c.refuseServed(ctx); err != nil {
			return err
		}
	}
	return c.to.gorm.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		for _, sql := range []string{
			"CREATE TABLE IF NOT EXISTS " + copyMark + " (id INTEGER PRIMARY KEY CHECK (id = 1), finished BOOLEAN NOT NULL)",
			"DELETE FROM " + copyMark, "INSERT INTO " + copyMark + " VALUES (1, FALSE)",
		} {
			if err := tx.Exec(sql).Error; err != nil {
				return err
			}
		}
		return nil
	})
}

// refuseServed refuses a target that has rows, or that a replica serves.
func (c *copying) refuseServed(ctx context.Context) error {
	var holds []string
	q := c.to.read.WithContext(ctx)
	for _, name := range copiedTables {
		var n int64
		if err := q.Table(name).Count(&n).Error; err != nil {
			return err
		}
		if n > 0 {
			holds = append(holds, fmt.Sprintf("%s %d", name, n))
		}
	}
	if len(holds) > 0 {
		return fmt.Errorf("target: it serves already, or did: it holds rows that are not of a copy (%s): name an empty database", strings.Join(holds, ", "))
	}
	if c.to.driver == Postgres {
		var n int64
		if err := q.Raw("SELECT count(*) FROM replicas WHERE at >= clock_timestamp() - make_interval(secs => ?)", ReplicaTerm.Seconds()).Row().Scan(&n); err != nil {
			return err
		}
		if n > 0 {
			return fmt.Errorf("target: %d replicas serve it: stop them first", n)
		}
	}
	return nil
}

// raiseVersions makes the target's next version higher than all of the source's.
func (c *copying) raiseVersions(ctx context.Context) error {
	var given int64
	if err := c.source.QueryRowContext(ctx, "SELECT max(version) FROM (SELECT "+c.from.feed.given+` AS version UNION ALL SELECT max(version) FROM api_keys
		UNION ALL SELECT max(version) FROM roles UNION ALL SELECT max(version) FROM feed_marks) v`).Scan(&given); err != nil {
		return fmt.Errorf("source: versions can't be read: %w", oneLine(err))
	}
	raise := "UPDATE change_seq SET value = max(value, ?)"
	if c.to.driver == Postgres {
		raise = "SELECT setval('change_version', GREATEST((SELECT last_value FROM change_version), ?))"
	}
	if err := c.to.gorm.WithContext(ctx).Exec(raise, given+copyMargin).Error; err != nil {
		return fmt.Errorf("target: versions can't be raised: %w", oneLine(err))
	}
	return nil
}

// finish begins an epoch of the target's own. So everything that a cache holds from
// either database is stale, and the changes that the copy made belong to an ended epoch.
func (c *copying) finish(ctx context.Context) error {
	err := c.to.gorm.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		statements := []string{"DELETE FROM outbox", "DELETE FROM feed_marks",
			"UPDATE extauthz_meta SET epoch = " + c.to.feed.random + ", why = 'the database was copied from another one' WHERE id = 1",
			"UPDATE " + copyMark + " SET finished = TRUE WHERE id = 1"}
		if c.to.driver == Postgres {
			statements = append([]string{"SET LOCAL statement_timeout = 0"}, statements...)
		}
		for _, s := range statements {
			if err := tx.Exec(s).Error; err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("target: the copy can't be finished: %w: run it again", oneLine(err))
	}
	if c.to.driver == Postgres { // so that its plans are good at once; Postgres would do so later by itself
		_ = c.to.gorm.WithContext(ctx).Exec("ANALYZE " + strings.Join(copiedTables, ", ")).Error
	}
	return nil
}
