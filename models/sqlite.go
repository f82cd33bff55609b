package models

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"

	"github.com/libtnb/sqlite"
	"gorm.io/gorm"
)

// sqliteReaders is how many reads run at once, in addition to the one writer.
const sqliteReaders = 4

// sqliteConnections is the size of each pool: the one that writes, those that read.
var sqliteConnections = []int{1, sqliteReaders}

const (
	sqliteSettings = "?_timezone=UTC&_pragma=busy_timeout(5000)&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)&_pragma=foreign_keys(1)"
	// A transaction that may write takes the lock when it begins. If it took the lock
	// later, and another one wrote in between, it would fail without waiting.
	sqliteWriting = sqliteSettings + "&_txlock=immediate"
	sqliteReading = sqliteSettings + "&_pragma=query_only(1)"
	// For a database that is only copied: none of its own settings is changed.
	sqliteSource = "?mode=ro&_timezone=UTC&_pragma=busy_timeout(5000)&_pragma=query_only(1)"
)

// openSQLite opens the file with one connection that writes and some that read. With one
// writer, the others wait in the pool, which is fairer than SQLite's busy loop. No writer
// blocks the readers (WAL), and they see every commit.
func openSQLite(ctx context.Context, c Config) (*DB, error) {
	if err := makeFile(c.DSN); err != nil {
		return nil, err
	}
	db := &DB{driver: SQLite, feed: sqliteFeed}
	var err error
	if db.gorm, err = db.openFile(ctx, c.DSN, sqliteWriting, 1); err == nil {
		db.read, err = db.openFile(ctx, c.DSN, sqliteReading, sqliteReaders)
	}
	if err != nil {
		_ = db.Close()
		return nil, fmt.Errorf("database file %s can't be opened: %w", c.DSN, err)
	}
	db.file.path = c.DSN
	db.file.info, _ = os.Stat(c.DSN) // can't fail: it was opened a moment ago
	db.file.companions = db.file.statCompanions()
	return db, nil
}

func (db *DB) openFile(ctx context.Context, path, settings string, connections int) (*gorm.DB, error) {
	// Escaped, so that no character of the path is read as part of the DSN's syntax.
	uri := url.URL{Scheme: "file", Opaque: (&url.URL{Path: path}).EscapedPath()}
	g, err := gorm.Open(sqlite.Open(uri.String()+settings), gormConfig())
	if err != nil {
		return nil, err
	}
	pool, err := g.DB()
	if err != nil {
		return nil, err
	}
	db.pools = append(db.pools, pool)
	pool.SetMaxOpenConns(connections)
	pool.SetMaxIdleConns(connections)
	return g, pool.PingContext(ctx)
}

// errFile means that the database file can't be opened as a file.
var errFile = errors.New("database file can't be opened")

// makeFile makes the file if there is none, for its owner alone; SQLite gives the files
// next to it the same mode.
func makeFile(path string) error {
	f, err := os.OpenFile(filepath.Clean(path), os.O_RDWR|os.O_CREATE, 0o600)
	if err == nil {
		err = f.Close()
	}
	if err != nil {
		return fmt.Errorf("%w: %w: make its folder, or give it to the user that runs this, or set database.dsn", errFile, err)
	}
	return nil
}
