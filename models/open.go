package models

import (
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/logger"
	"gorm.io/gorm/schema"
)

// The drivers.
const (
	SQLite   = "sqlite"
	Postgres = "postgres"
)

// Defaults of [Config].
const (
	DefaultMaxOpen          = 20
	DefaultMaxIdle          = DefaultMaxOpen // with fewer, connections are made anew under load, which costs look-ups 50 ms and more
	DefaultStatementTimeout = 5 * time.Second
	DefaultConnectTimeout   = 2 * time.Second
)

// Config defines which database is opened, and how.
type Config struct {
	Driver string // SQLite or Postgres
	DSN    string // a file's path, or postgres://…
	// ReadDSN returns the current DSN, and is called for each new connection. If it is
	// nil, DSN is used for all. ReadDSN and Password are for Postgres only.
	ReadDSN  func() (string, error)
	Password PasswordSource // gives the password instead of the DSN; nil: the DSN's password is used
	// ConnectTimeout is how long to wait for one host, unless the DSN sets it; 0 is
	// DefaultConnectTimeout. Postgres only.
	ConnectTimeout time.Duration
	MaxOpen        int // maximum number of connections, at least two; Postgres only, 0 is DefaultMaxOpen
	MaxIdle        int // unused connections that are kept open; Postgres only, 0 is DefaultMaxIdle
	// StatementTimeout ends a statement, and a wait for a lock, in Postgres,
	// unless the DSN sets another; 0 is DefaultStatementTimeout.
	StatementTimeout time.Duration
	Logger           *slog.Logger // nil: nothing is logged
}

// DB is the database. It is safe for concurrent use.
type DB struct {
	gorm   *gorm.DB // reads and writes
	read   *gorm.DB // reads what is committed; the same as gorm in Postgres
	pools  []*sql.DB
	driver string
	feed   feedDialect

	creations *creations
	writes    writes
	file      file // of SQLite

	unreadable atomic.Bool // a look-up met a row that can't be read
}

// Open connects, to a primary only, and checks that the database answers and was not made
// by a newer version of this program. It makes a missing SQLite file. [DB.Migrate] makes
// the tables.
func Open(ctx context.Context, c Config) (*DB, error) {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	var db *DB
	var err error
	switch c.Driver {
	case SQLite:
		db, err = openSQLite(ctx, c)
	case Postgres:
		db, err = openPostgres(ctx, c)
	default:
		return nil, fmt.Errorf("database driver %q: write sqlite or postgres", c.Driver)
	}
	if err != nil {
		return nil, err
	}
	db.creations = newCreations(db)
	if err := db.refuseNewer(ctx); err != nil {
		_ = db.Close()
		return nil, err
	}
	return db, nil
}

// gormConfig turns GORM's logger off, since it would log values. Errors are returned to
// the caller.
func gormConfig() *gorm.Config {
	schema.RegisterSerializer(typedColumns, typed{})
	return &gorm.Config{Logger: logger.Discard, TranslateError: true, DisableAutomaticPing: true,
		NowFunc: func() time.Time { return time.Now().UTC().Truncate(time.Microsecond) }}
}

func orDefault[T comparable](value, standard T) T {
	var zero T
	if value == zero {
		return standard
	}
	return value
}

// Ping tests whether the database answers.
func (db *DB) Ping(ctx context.Context) error { return db.pools[0].PingContext(ctx) }

// Connections returns the statistics of the connections that read and write.
func (db *DB) Connections() sql.DBStats { return db.pools[0].Stats() }

// Now is the database's time in UTC.
func (db *DB) Now(ctx context.Context) (time.Time, error) {
	if db.driver == SQLite {
		return time.Now().UTC(), nil // the database is this process
	}
	var now time.Time
	err := db.read.WithContext(ctx).Raw("SELECT clock_timestamp()").Row().Scan(&now)
	return now.UTC(), err
}

// Close ends all connections.
func (db *DB) Close() error {
	var first error
	for _, p := range db.pools {
		if err := p.Close(); err != nil && first == nil {
			first = err
		}
	}
	return first
}
