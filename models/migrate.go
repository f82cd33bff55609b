package models

import (
	"context"
	"embed"
	"fmt"
	"io/fs"

	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
	"gorm.io/gorm"
)

//go:embed migrations
var migrations embed.FS

// Migrate brings the database to this version. Replicas that start at once wait
// for one another. A table api_keys with the ten columns that other systems
// have is taken over with its rows.
func (db *DB) Migrate(ctx context.Context) error {
	if err := db.takeOver(ctx); err != nil {
		return fmt.Errorf("database can't be migrated: taking over api_keys: %w", err)
	}
	p, err := db.provider()
	if err != nil {
		return err
	}
	if _, err := p.Up(ctx); err != nil {
		return fmt.Errorf("database can't be migrated: %w", err)
	}
	return nil
}

// MigrationStatus returns the database's version and the newest one known.
func (db *DB) MigrationStatus(ctx context.Context) (current, newest int64, err error) {
	p, err := db.provider()
	if err != nil {
		return 0, 0, err
	}
	return p.GetVersions(ctx)
}

func (db *DB) provider() (*goose.Provider, error) {
	dialect, options := goose.DialectSQLite3, []goose.ProviderOption{goose.WithDisableGlobalRegistry(true)}
	if db.driver == Postgres {
		locker, err := lock.NewPostgresSessionLocker()
		if err != nil {
			return nil, err
		}
		dialect, options = goose.DialectPostgres, append(options, goose.WithSessionLocker(locker))
	}
	dir, err := fs.Sub(migrations, "migrations/"+db.driver)
	if err != nil {
		return nil, err
	}
	return goose.NewProvider(dialect, db.sql, dir, options...)
}

// takeOver adds the columns that an older table lacks: SQLite can't say ADD
// COLUMN IF NOT EXISTS.
func (db *DB) takeOver(ctx context.Context) error {
	return db.gorm.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		m := tx.Migrator()
		if !m.HasTable(&keyRow{}) {
			return nil
		}
		instant := "DATETIME"
		if db.driver == Postgres {
			instant = "TIMESTAMPTZ"
		}
		for _, c := range []struct{ name, kind string }{
			{"hash_alg", "TEXT NOT NULL DEFAULT 'sha256'"}, {"pepper_id", "TEXT NOT NULL DEFAULT ''"},
			{"environment", "TEXT NOT NULL DEFAULT ''"}, {"revoked_at", instant}, {"rotated_from", "TEXT NOT NULL DEFAULT ''"},
			{"allowed_cidrs", "TEXT NOT NULL DEFAULT '[]'"}, {"metadata", "TEXT NOT NULL DEFAULT '{}'"}, {"rate", "TEXT NOT NULL DEFAULT ''"},
			{"project", "TEXT NOT NULL DEFAULT ''"}, {"roles", "TEXT NOT NULL DEFAULT '[]'"}, {"family", "TEXT NOT NULL DEFAULT ''"},
			{"version", "BIGINT NOT NULL DEFAULT 0"}, {"grants", "TEXT NOT NULL DEFAULT '{}'"},
		} {
			if m.HasColumn(&keyRow{}, c.name) {
				continue
			}
			if err := tx.Exec("ALTER TABLE api_keys ADD COLUMN " + c.name + " " + c.kind).Error; err != nil {
				return err
			}
		}
		return nil
	})
}
