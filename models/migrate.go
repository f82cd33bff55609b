package models

import (
	"context"
	"embed"
	"fmt"
	"io/fs"
	"time"

	"github.com/pressly/goose/v3"
	"gorm.io/gorm"
)

//go:embed migrations
var migrations embed.FS

const (
	// migrationsTable is not goose's default: if a table api_keys is taken over, the
	// application that made it may use goose too.
	migrationsTable = "extauthz_migrations"
	// migrationLock is the advisory lock of a migration in Postgres.
	migrationLock = 0x6578746D6967
	// migrationPause is the pause before the lock is requested again while another
	// process migrates.
	migrationPause = 100 * time.Millisecond
	// secondConnection is how long to wait for a second connection, which a pooler may
	// not give.
	secondConnection = 5 * time.Second
)

// Migrate brings the database to this program's version; a database of this version is
// left unchanged, a newer one is refused. Concurrent starts wait for each other. See
// [takeOver] for a table api_keys that extauthz did not make.
func (db *DB) Migrate(ctx context.Context) error {
	if err := db.refuseNewer(ctx); err != nil {
		return err
	}
	migrate := db.migrateSQLite
	if db.driver == Postgres {
		migrate = db.migratePostgres
	}
	if err := migrate(ctx); err != nil {
		return fmt.Errorf("database can't be migrated: %w", oneLine(err))
	}
	return nil
}

// migratePostgres polls for the lock while another process holds it. Waiting for it
// inside a transaction would hold a connection of a pooler. Many replicas that start at
// once would hold all connections that the owner of the lock needs.
func (db *DB) migratePostgres(ctx context.Context) error {
	for {
		current, newest, err := db.MigrationStatus(ctx)
		if err != nil || current == newest {
			return err
		}
		if alone, err := db.migrateAlone(ctx); alone || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(migrationPause):
		}
	}
}

// migrateAlone migrates unless another process does. It holds the lock in a transaction
// of its own: a session's lock would be lost behind a pooler that gives each transaction
// another session.
func (db *DB) migrateAlone(ctx context.Context) (alone bool, err error) {
	err = db.gorm.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		err := tx.Raw("SELECT pg_try_advisory_xact_lock(?::bigint)", migrationLock).Row().Scan(&alone)
		if err != nil || !alone {
			return err
		}
		// These statements come after the query, which holds its snapshot until the next
		// statement. An index that the migration builds would otherwise wait for that
		// snapshot until this transaction ends.
		for _, sql := range []string{"SET LOCAL statement_timeout = 0", "SET LOCAL idle_in_transaction_session_timeout = 0"} {
			if err := tx.Exec(sql).Error; err != nil {
				return err
			}
		}
		second, cancel := context.WithTimeout(ctx, secondConnection)
		defer cancel()
		if err := db.pools[0].PingContext(second); err != nil {
			return fmt.Errorf("it needs two connections at once, and a second one was not available: %w: a pooler must allow two (default_pool_size)", err)
		}
		return db.up(ctx)
	}, db.seesCommits()...)
	return alone, err
}

// migrateSQLite makes each step in a transaction that has the write lock from its
// beginning. If another process makes a step first, the step fails here, and the
// remaining steps are tried again.
func (db *DB) migrateSQLite(ctx context.Context) error {
	for before := int64(-1); ; {
		err := db.up(ctx)
		if err == nil {
			return nil
		}
		current, _, statusErr := db.MigrationStatus(ctx)
		if statusErr != nil || current == before {
			return err
		}
		before = current
	}
}

func (db *DB) up(ctx context.Context) error {
	p, err := db.provider()
	if err != nil {
		return err
	}
	_, err = p.Up(ctx)
	return err
}

// MigrationStatus returns the database's version, 0 for an empty one, and this
// program's. It changes nothing.
func (db *DB) MigrationStatus(ctx context.Context) (current, newest int64, err error) {
	p, err := db.provider()
	if err != nil {
		return 0, 0, err
	}
	sources := p.ListSources()
	newest = sources[len(sources)-1].Version
	q := db.read.WithContext(ctx)
	if !q.Migrator().HasTable(migrationsTable) {
		return 0, newest, ctx.Err()
	}
	err = q.Raw("SELECT COALESCE(max(version_id), 0) FROM " + migrationsTable).Row().Scan(&current)
	return current, newest, err
}

// Empty reports whether the database has no table with a name that extauthz uses.
func (db *DB) Empty(ctx context.Context) (bool, error) {
	statement := "SELECT count(*) FROM information_schema.tables WHERE table_schema = current_schema() AND table_name IN ?"
	if db.driver == SQLite {
		statement = "SELECT count(*) FROM sqlite_master WHERE name IN ?"
	}
	var n int
	err := db.read.WithContext(ctx).Raw(statement, []string{migrationsTable, "api_keys", "roles", "outbox", "extauthz_meta"}).Row().Scan(&n)
	return n == 0, err
}

func (db *DB) refuseNewer(ctx context.Context) error {
	current, newest, err := db.MigrationStatus(ctx)
	if err != nil {
		return fmt.Errorf("database's version can't be read: %w", oneLine(err))
	}
	if current > newest {
		return fmt.Errorf("database has version %d, made by a newer extauthz than this one, which knows %d: run the newer one", current, newest)
	}
	return nil
}

func (db *DB) provider() (*goose.Provider, error) {
	dialect := goose.DialectSQLite3
	if db.driver == Postgres {
		dialect = goose.DialectPostgres
	}
	dir, err := fs.Sub(migrations, "migrations/"+db.driver)
	if err != nil {
		return nil, err
	}
	return goose.NewProvider(dialect, db.pools[0], dir, goose.WithDisableGlobalRegistry(true),
		goose.WithTableName(migrationsTable), goose.WithGoMigrations(append(takeOver(db.driver), makeAdministrators(db.driver))...))
}
