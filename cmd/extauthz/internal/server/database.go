package server

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"extauthz/cmd/extauthz/internal/config"
	"extauthz/models"
)

// openTimeout is how long a command waits for a Postgres that can't be reached yet.
const openTimeout = 30 * time.Second

// DatabaseConfig returns the configuration of the database. It opens nothing.
func DatabaseConfig(c *config.Config) models.Config {
	return databaseConfig(c, slog.New(slog.DiscardHandler))
}

func databaseConfig(c *config.Config, log *slog.Logger) models.Config {
	d := c.Database
	m := models.Config{Driver: d.Driver, DSN: d.DSN.Reveal(), ConnectTimeout: d.ConnectTimeout, MaxOpen: d.MaxOpen, MaxIdle: d.MaxIdle, Logger: log}
	if m.Driver == models.SQLite {
		if m.DSN == "" {
			m.DSN = filepath.Join(c.DataDir, "extauthz.db")
		}
		return m
	}
	if d.DSNFile != "" {
		m.ReadDSN = config.SecretReader(d.DSNFile)
	}
	if p := d.PasswordSource(changedSecret(log, "database.password")); p != nil {
		m.Password = p
	}
	return m
}

// listenConfig returns the configuration of the database for LISTEN; ok is false if there
// is none.
func listenConfig(c *config.Config, log *slog.Logger) (m models.Config, ok bool) {
	d := c.Database
	if d.Driver != models.Postgres || d.ListenDSN.IsZero() {
		return m, false
	}
	m = databaseConfig(c, log)
	m.DSN, m.ReadDSN = d.ListenDSN.Reveal(), nil
	if d.ListenDSNFile != "" {
		m.ReadDSN = config.SecretReader(d.ListenDSNFile)
	}
	return m, true
}

// OpenDatabase opens and migrates the configured database for a command. It waits only
// half a minute, since a person waits for the command.
func OpenDatabase(ctx context.Context, c *config.Config, log *slog.Logger) (*models.DB, error) {
	for deadline := time.Now().Add(openTimeout); ; {
		db, err := openMigrated(ctx, c, log)
		if f, failed := models.FaultOf(err); !failed || !waitsFor(c, f) || time.Now().After(deadline) {
			return db, err
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(startPause):
		}
	}
}

func openMigrated(ctx context.Context, c *config.Config, log *slog.Logger) (*models.DB, error) {
	db, err := open(ctx, c, log)
	if err != nil {
		return nil, err
	}
	if err := migrate(ctx, db, log); err != nil {
		_ = db.Close()
		return nil, err
	}
	return db, nil
}

// open makes one attempt to connect to the configured database.
func open(ctx context.Context, c *config.Config, log *slog.Logger) (*models.DB, error) {
	m := databaseConfig(c, log)
	if m.Driver == models.SQLite {
		if err := os.MkdirAll(filepath.Dir(m.DSN), 0o700); err != nil {
			return nil, fmt.Errorf("data folder can't be made: %w: choose another with --data-dir", err)
		}
	}
	return models.Open(ctx, m)
}

// migrate migrates the database to the version that this program needs. If the versions
// of changes have gone back, it moves them forward.
func migrate(ctx context.Context, db *models.DB, log *slog.Logger) error {
	if err := db.Migrate(ctx); err != nil {
		return err
	}
	repaired, err := db.RepairVersions(ctx)
	if err != nil {
		return err
	}
	if repaired {
		log.WarnContext(ctx, "the database's versions had gone back: they go on beyond all that were given, and caches are emptied; a replication or a dump that is loaded has to bring the sequence change_version along")
	}
	return nil
}
