package server

import (
	"context"
	"errors"
	"time"

	"extauthz/cmd/extauthz/internal/conditions"
	"extauthz/models"
)

// schemaGrace is how long a database without our tables is left alone, and the pause
// between two attempts to migrate it. A script that restores a database empties it first.
const schemaGrace = 5 * time.Second

// errPartial reports a database that is not migrated because it is not empty.
var errPartial = errors.New("the database has some of extauthz's tables and lacks others: restore it whole, or empty it")

// keepSchema migrates the database again, as a start would, if an empty one replaces it
// while the service runs. It stops when ctx ends. The content of the lost database is
// then forgotten: the new one has another epoch, so the cache starts afresh.
func (s *Server) keepSchema(ctx context.Context) error {
	tick := time.NewTicker(fastCheckInterval)
	defer tick.Stop()
	var since time.Time // when the tables were first missing, or the last attempt was made
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		switch {
		case !models.IsFault(s.cache.FeedError(), models.FaultSchemaMissing):
			if !since.IsZero() {
				since = time.Time{}
				s.conditions.Clear(conditions.MigrationFailed, "")
			}
		case since.IsZero():
			since = time.Now()
		case time.Since(since) >= schemaGrace:
			if err := s.migrateAgain(ctx); err != nil && ctx.Err() == nil && !away(err) {
				s.conditions.Set(conditions.MigrationFailed, "", err.Error())
			}
			since = time.Now()
		}
	}
}

func (s *Server) migrateAgain(ctx context.Context) error {
	empty, err := s.db.Empty(ctx)
	if err != nil {
		return err
	}
	if !empty {
		return errPartial
	}
	s.log.WarnContext(ctx, "the database is empty: it is migrated again, and every key that the lost one held is refused")
	if err := s.migrate(ctx, s.db); err != nil {
		return err
	}
	s.cache.Wake()
	s.startAdministrator(ctx)
	return nil
}

// away reports whether an error means only that the database does not answer now.
func away(err error) bool {
	f, _ := models.FaultOf(err)
	switch f.Kind {
	case models.FaultUnreachable, models.FaultStarting, models.FaultTimeout, models.FaultBusy, models.FaultConnections:
		return true
	}
	return false
}
