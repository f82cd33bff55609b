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
	// startPause is the time between two attempts to open the database.
	startPause = time.Second
	// administratorPause is the time between two attempts to make the first
	// administrator.
	administratorPause = time.Minute
	// openBudget limits one attempt to connect: several hosts may hang, one after the
	// other. A migration has no such limit.
	openBudget = 30 * time.Second
)

// start waits for the database, migrates it, and assembles everything that needs it. It
// waits for faults that end with time or that the database's owner can end. There is no
// limit unless database.start_timeout sets one: platforms start programs at the same
// time, and a process that ends would only be started again. A fault of the configuration
// is an error at once. started is false if ctx has ended first.
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

// retry repeats a step until it succeeds or fails for good. Meanwhile a condition, one
// for each kind of fault, says what the process waits for.
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

// waitsFor reports whether a start waits for the end of a fault. Of an SQLite file it waits
// for what an operator ends without touching the service, such as a full disk; a file that
// is not there, damaged or not permitted stays so.
func waitsFor(c *config.Config, f models.Fault) bool {
	if c.Database.Driver == models.SQLite {
		switch f.Kind {
		case models.FaultDiskFull, models.FaultIO, models.FaultBusy, models.FaultTimeout:
			return true
		}
		return false
	}
	return f.Passes()
}

// openDatabase opens and migrates the database of the current settings, which a reload
// may have corrected since the last attempt.
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

// migrate migrates the database to the version that this program needs. A condition is
// active while it does so.
func (s *Server) migrate(ctx context.Context, db *models.DB) error {
	current, newest, err := db.MigrationStatus(ctx)
	if err == nil && current != newest {
		s.conditions.Set(conditions.Migrating, "", fmt.Sprintf("migrating the database from version %d to %d", current, newest))
		defer s.conditions.Clear(conditions.Migrating, "")
	}
	return migrate(ctx, db, s.log)
}

// assembleForReloads assembles while no reload runs. Later reloads change what it has
// assembled.
func (s *Server) assembleForReloads(ctx context.Context) error {
	s.reloading.Lock()
	defer s.reloading.Unlock()
	err := s.assemble(ctx)
	s.started = err == nil
	return err
}

// startAdministrator makes the first administrator if there is none. If the database does
// not allow that now, it returns and tries again in the background.
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

// current returns the settings that were last loaded.
func (s *Server) current() *config.Config {
	s.reloading.Lock()
	defer s.reloading.Unlock()
	return s.settings
}
