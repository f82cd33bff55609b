package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"extauthz/cmd/extauthz/internal/config"
	"extauthz/models"
)

// A Postgres that is not there yet is waited for, since platforms start things
// together; an SQLite file that can't be opened stays so.
const (
	databasePatience = 30 * time.Second
	databasePause    = time.Second
)

// DatabaseConfig is the configured database, not yet opened.
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

// listenConfig is the database for LISTEN; ok is false where none is configured.
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

// OpenDatabase opens and migrates the configured database.
func OpenDatabase(ctx context.Context, c *config.Config, log *slog.Logger) (*models.DB, error) {
	m := databaseConfig(c, log)
	if m.Driver == models.SQLite {
		if err := os.MkdirAll(filepath.Dir(m.DSN), 0o700); err != nil {
			return nil, fmt.Errorf("data folder can't be made: %w: choose another with --data-dir", err)
		}
	}
	db, err := openPatiently(ctx, m, log)
	if err != nil {
		return nil, err
	}
	if err := db.Migrate(ctx); err != nil {
		_ = db.Close()
		return nil, err
	}
	repaired, err := db.RepairVersions(ctx)
	if err != nil {
		_ = db.Close()
		return nil, err
	}
	if repaired {
		log.WarnContext(ctx, "the database's versions had gone back: they go on beyond all that were given, and caches are emptied; a replication or a dump that is loaded has to bring the sequence change_version along")
	}
	return db, nil
}

func openPatiently(ctx context.Context, m models.Config, log *slog.Logger) (*models.DB, error) {
	for deadline := time.Now().Add(databasePatience); ; {
		db, err := models.Open(ctx, m)
		if !errors.Is(err, models.ErrUnreachable) || time.Now().After(deadline) {
			return db, err
		}
		log.WarnContext(ctx, "waiting for the database", "error", err)
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(databasePause):
		}
	}
}
