package models

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/libtnb/sqlite"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"
)

// The drivers.
const (
	SQLite   = "sqlite"
	Postgres = "postgres"
)

// Config says which database is opened, and how.
type Config struct {
	Driver  string // SQLite or Postgres
	DSN     string // a file's path, or postgres://…
	MaxOpen int    // connections at most; Postgres only, 0 is 20
	MaxIdle int    // kept open; Postgres only, 0 is 5
	// StatementTimeout ends a statement in Postgres; 0 is 5 s.
	StatementTimeout time.Duration
}

// DB is the database. It is safe for concurrent use.
type DB struct {
	gorm   *gorm.DB
	sql    *sql.DB
	driver string
}

// Open connects and checks that the database answers. It changes nothing: see
// Migrate.
func Open(ctx context.Context, c Config) (*DB, error) {
	var dialector gorm.Dialector
	switch c.Driver {
	case SQLite:
		dsn, err := sqliteDSN(c.DSN)
		if err != nil {
			return nil, err
		}
		dialector = sqlite.Open(dsn)
	case Postgres:
		dsn, err := postgresDSN(c)
		if err != nil {
			return nil, err
		}
		// Without prepared statements, so that a pooler in transaction mode
		// may stand between.
		dialector = postgres.New(postgres.Config{DSN: dsn, PreferSimpleProtocol: true})
	default:
		return nil, fmt.Errorf("database driver %q: write sqlite or postgres", c.Driver)
	}
	// Silent: GORM's logger would write values. Errors come back to the caller.
	g, err := gorm.Open(dialector, &gorm.Config{Logger: logger.Discard, TranslateError: true,
		NowFunc: func() time.Time { return time.Now().UTC().Truncate(time.Microsecond) }})
	if err != nil {
		return nil, openError(c, err)
	}
	pool, err := g.DB()
	if err != nil {
		return nil, openError(c, err)
	}
	if c.Driver == SQLite {
		pool.SetMaxOpenConns(1) // one writer: waiting here is fairer than SQLite's busy loop
	} else {
		pool.SetMaxOpenConns(orDefault(c.MaxOpen, 20))
		pool.SetMaxIdleConns(orDefault(c.MaxIdle, 5))
		pool.SetConnMaxLifetime(30 * time.Minute)
	}
	db := &DB{gorm: g, sql: pool, driver: c.Driver}
	if err := db.Ping(ctx); err != nil {
		_ = pool.Close()
		return nil, openError(c, err)
	}
	return db, nil
}

func orDefault(n, d int) int {
	if n == 0 {
		return d
	}
	return n
}

// openError leaves out the DSN, which may hold a password.
func openError(c Config, err error) error {
	if c.Driver == SQLite {
		return fmt.Errorf("database file %s can't be opened: %w", c.DSN, err)
	}
	return errors.New("database can't be reached: check database.dsn and that Postgres is up")
}

// sqliteDSN makes the file, readable for its owner alone, and names the pragmas.
func sqliteDSN(path string) (string, error) {
	f, err := os.OpenFile(filepath.Clean(path), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return "", fmt.Errorf("database file can't be opened: %w", err)
	}
	if err := f.Close(); err != nil {
		return "", err
	}
	return (&url.URL{Scheme: "file", Opaque: (&url.URL{Path: path}).EscapedPath()}).String() +
		"?_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)&_pragma=busy_timeout(5000)&_txlock=immediate&_timezone=UTC", nil
}

func postgresDSN(c Config) (string, error) {
	u, err := url.Parse(c.DSN)
	if err != nil || u.Scheme != "postgres" && u.Scheme != "postgresql" {
		return "", errors.New("database.dsn: write postgres://user:password@host:5432/name")
	}
	timeout := c.StatementTimeout
	if timeout == 0 {
		timeout = 5 * time.Second
	}
	q := u.Query()
	set := func(name, value string) {
		if q.Get(name) == "" {
			q.Set(name, value)
		}
	}
	set("statement_timeout", fmt.Sprint(timeout.Milliseconds()))
	set("lock_timeout", fmt.Sprint(timeout.Milliseconds()))
	set("connect_timeout", "5")
	set("timezone", "UTC")
	u.RawQuery = q.Encode()
	return u.String(), nil
}

// Ping asks whether the database answers.
func (db *DB) Ping(ctx context.Context) error { return db.sql.PingContext(ctx) }

// Close ends all connections.
func (db *DB) Close() error { return db.sql.Close() }
