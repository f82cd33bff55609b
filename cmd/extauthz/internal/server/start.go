package server

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"extauthz/cmd/extauthz/internal/conditions"
	"extauthz/cmd/extauthz/internal/config"
	"extauthz/models"
)

const (
	// startPause is the time between two attempts at a database that is waited for.
	startPause = time.Second
	// administratorPause is the time between two attempts at the first administrator.
	administratorPause = time.Minute
	// openBudget is how long one attempt at connecting may take: several hosts that
	// hang, one after the other. A migration has no such limit.
	openBudget = 30 * time.Second
)

// start waits for the database, migrates it and assembles everything that needs
// it. A fault that time or the database's owner can end is waited out, without end
// unless database.start_timeout says so, since platforms start things together and
// a process that ends is only started again; a fault of the configuration is an
// error at once. started is false where ctx has ended first.
func (s *Server) start(ctx context.Context) (started bool, err error) {
	wait := ctx
	if limit := s.current().Database.StartTimeout; limit > 0 {
		var cancel context.CancelFunc
		wait, cancel = context.WithTimeoutCause(ctx, limit, fmt.Errorf("database.start_timeout (%s) is over", limit))
		defer cancel()
	}
	if err = s.retry(wait, s.openDatabase); err == nil {
		err = s.assembleForReloads(ctx)
	}
	if err == nil {
		s.startAdministrator(ctx)
		s.listen, err = listenAll(s.current(), s.listen.ops)
	}
	if err == nil {
		s.inbound.around(&s.listen)
	}
	if ctx.Err() != nil {
		return false, nil
	}
	return err == nil, err
}

// retry tries a step until it succeeds or fails for good. Meanwhile a condition names
// what the process waits for, another one for each kind of fault.
func (s *Server) retry(ctx context.Context, step func(context.Context) error) error {
	defer s.conditions.Replace(conditions.DatabaseWait, nil)
	var last error
	for {
		err := step(ctx)
		if err == nil {
			return nil
		}
		if ctx.Err() == nil {
			last = err
			f, _ := models.FaultOf(err)
			if !waitsFor(s.current(), f) {
				return err
			}
			s.conditions.Replace(conditions.DatabaseWait, map[string]string{string(f.Kind): "waiting for the database: " + f.String()})
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", context.Cause(ctx), cmp.Or(last, err))
		case <-time.After(startPause):
		}
	}
}

// waitsFor reports whether a start waits for the end of a fault. An SQLite file
// that can't be opened stays so: it is on this machine.
func waitsFor(c *config.Config, f models.Fault) bool {
	if c.Database.Driver == models.SQLite {
		switch f.Kind {
		case models.FaultDiskFull, models.FaultBusy, models.FaultTimeout:
			return true
		}
		return false
	}
	return f.Passes()
}

// openDatabase opens and migrates the database of the settings as they are now: a
// reload may have corrected them.
func (s *Server) openDatabase(ctx context.Context) (err error) {
	limited, cancel := context.WithTimeout(ctx, openBudget)
	defer cancel()
	db, err := open(limited, s.current(), s.log)
	if err != nil {
		return err
	}
	if err := s.migrate(ctx, db); err != nil {
		_ = db.Close()
		return err
	}
	s.opened = time.Now()
	if err := db.StartServing(ctx); err != nil {
		_ = db.Close()
		return err
	}
	s.db = db
	return nil
}

// migrate brings the database to this version; a condition shows it where there
// is something to be done.
func (s *Server) migrate(ctx context.Context, db *models.DB) error {
	current, newest, err := db.MigrationStatus(ctx)
	if err == nil && current != newest {
		s.conditions.Set(conditions.Migrating, "", fmt.Sprintf("migrating the database from version %d to %d", current, newest))
		defer s.conditions.Clear(conditions.Migrating, "")
	}
	return migrate(ctx, db, s.log)
}

// assembleForReloads assembles while no reload runs; later ones change what is assembled.
func (s *Server) assembleForReloads(ctx context.Context) error {
	s.reloading.Lock()
	defer s.reloading.Unlock()
	err := s.assemble(ctx)
	s.started = err == nil
	return err
}

// startAdministrator makes the first administrator where there is none, behind the caller's
// back where the database does not let it now.
func (s *Server) startAdministrator(ctx context.Context) {
	attempt := func() (again bool) {
		return ensureAdministrator(ctx, s.current(), s.db, s.administrators, s.policies.format, s.log)
	}
	if !attempt() {
		return
	}
	go func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-time.After(administratorPause):
				if !attempt() {
					return
				}
			}
		}
	}()
}

// current returns the settings that were loaded last.
func (s *Server) current() *config.Config {
	s.reloading.Lock()
	defer s.reloading.Unlock()
	return s.settings
}
