package models

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"
)

const minOpen = 2 // a migration needs one for its lock and one for its work

// startingClass is the class (first two characters) of the error codes that a server
// sends while it starts or stops.
const startingClass = "57"

// ErrUnreachable means that no database answers at the address. One may do so later.
var ErrUnreachable = errors.New("database can't be reached")

func openPostgres(ctx context.Context, c Config) (*DB, error) {
	c.MaxOpen, c.MaxIdle = max(minOpen, orDefault(c.MaxOpen, DefaultMaxOpen)), orDefault(c.MaxIdle, DefaultMaxIdle)
	source := newSource(c)
	if _, _, err := source.current(ctx); err != nil && !source.changes() {
		return nil, err
	}
	connector := newConnector(source, c.MaxOpen, c.MaxIdle, c.Logger)
	db := &DB{driver: Postgres, feed: postgresFeed(true), pools: []*sql.DB{connector.pool}}
	err := connector.pool.PingContext(ctx)
	if refused := (*pgconn.PgError)(nil); errors.As(err, &refused) && strings.Contains(refused.Message, "unsupported startup parameter") {
		// PgBouncer does so, unless its ignore_startup_parameters names them.
		c.Logger.WarnContext(ctx, "the connection pooler accepts no statement_timeout and lock_timeout: set them by ALTER ROLE … SET")
		source.withoutLimits()
		err = connector.pool.PingContext(ctx)
	}
	if err != nil {
		_ = db.Close()
		if refused := (*pgconn.PgError)(nil); errors.As(err, &refused) && !strings.HasPrefix(refused.Code, startingClass) &&
			(!refusedCredentials(err) || !source.changes()) { // refused credentials may be replaced in a moment
			return nil, fmt.Errorf("database refuses the connection: %w: check database.dsn", oneLine(err))
		}
		return nil, fmt.Errorf("%w: %w: check database.dsn and that Postgres is up", ErrUnreachable, oneLine(err))
	}
	if db.gorm, err = gorm.Open(postgres.New(postgres.Config{Conn: connector.pool}), gormConfig()); err != nil {
		_ = db.Close()
		return nil, fmt.Errorf("database can't be reached: %w", oneLine(err))
	}
	db.read = db.gorm
	if err := db.read.WithContext(ctx).Exec("SELECT " + postgresHistory).Error; err != nil {
		c.Logger.WarnContext(ctx, "this Postgres does not report its timeline: after a promotion that lost transactions restart all replicas", "error", oneLine(err))
		db.feed = postgresFeed(false)
	}
	return db, nil
}

// postgresSettings parses the DSN, which is a URL or a list of settings, and adds the
// time limits that the DSN does not set.
func postgresSettings(c Config) (*pgx.ConnConfig, error) {
	config, err := pgx.ParseConfig(c.DSN)
	if file := (*fs.PathError)(nil); errors.As(err, &file) {
		return nil, fmt.Errorf("database.dsn names a file that can't be read: %w", file)
	}
	if err != nil || c.DSN == "" {
		// The error would quote parts of the DSN.
		return nil, errors.New("database.dsn can't be read: write postgres://user:password@host:5432/name")
	}
	if config.ConnectTimeout == 0 {
		config.ConnectTimeout = orDefault(c.ConnectTimeout, DefaultConnectTimeout)
	}
	config.DialFunc = dialer()
	timeout := strconv.FormatInt(orDefault(c.StatementTimeout, DefaultStatementTimeout).Milliseconds(), 10)
	for name, value := range map[string]string{"statement_timeout": timeout, "lock_timeout": timeout, "application_name": "extauthz"} {
		if _, set := config.RuntimeParams[name]; !set {
			config.RuntimeParams[name] = value
		}
	}
	config.RuntimeParams["timezone"] = "UTC"
	// This mode needs no named prepared statements, so a pooler in transaction mode may
	// be in between. It is not the simple protocol, whose statements contain their
	// values: the server would write them to its log when a statement fails.
	config.DefaultQueryExecMode = pgx.QueryExecModeExec
	// A standby lags: a key revoked on the primary is still valid there.
	if config.ValidateConnect == nil {
		config.ValidateConnect = pgconn.ValidateConnectTargetSessionAttrsPrimary
	}
	return config, nil
}

// oneLineError puts an error's text on one line: pgx and goose write several.
type oneLineError struct{ error }

func oneLine(err error) error { return oneLineError{err} }

// Error replaces any white space by a single space.
func (e oneLineError) Error() string { return strings.Join(strings.Fields(e.error.Error()), " ") }

// Unwrap returns the error as it was.
func (e oneLineError) Unwrap() error { return e.error }
