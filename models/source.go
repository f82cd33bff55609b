package models

import (
	"context"
	"crypto/tls"
	"errors"
	"maps"
	"slices"
	"sync"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// PasswordSource gives the password of the database for each new connection.
// It is safe for concurrent use.
type PasswordSource interface {
	// Password returns the current password.
	Password(ctx context.Context) (string, error)
	// Rejected reports that the server refused the password that was returned last, so
	// that a cached password is not returned again.
	Rejected()
}

// source reads the connection settings anew for each connection: the DSN, the password,
// and whatever files the DSN names (passfile, certificates, the service file), which pgx
// reads while it parses. Safe for concurrent use.
type source struct {
	config   Config
	noLimits bool // startup parameters that poolers refuse are left out

	mu         sync.Mutex
	last       *pgx.ConnConfig
	generation int // counts how often the settings that were read differed from those before
}

func newSource(c Config) *source { return &source{config: c} }

// current returns the settings as they are now and their generation. If they can't be
// read (a certificate and its key are written one after the other), it returns the last
// valid settings with the error, or nil if there are none.
func (s *source) current(ctx context.Context) (*pgx.ConnConfig, int, error) {
	next, err := s.read(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil && (s.last == nil || !sameSettings(s.last, next)) {
		s.last = next
		s.generation++
	}
	if s.last == nil {
		return nil, 0, err
	}
	config := s.last.Copy()
	if s.noLimits {
		delete(config.RuntimeParams, "statement_timeout")
		delete(config.RuntimeParams, "lock_timeout")
	}
	return config, s.generation, err
}

func (s *source) withoutLimits() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.noLimits = true
}

func (s *source) read(ctx context.Context) (*pgx.ConnConfig, error) {
	c := s.config
	if c.ReadDSN != nil {
		dsn, err := c.ReadDSN()
		if err != nil {
			return nil, err
		}
		c.DSN = dsn
	}
	config, err := postgresSettings(c)
	if err != nil {
		return nil, err
	}
	if c.Password != nil {
		if config.Password, err = c.Password.Password(ctx); err != nil {
			return nil, err
		}
	}
	return config, nil
}

// rejected reports to the source of the password that the server refused the credentials.
func (s *source) rejected() {
	if s.config.Password != nil {
		s.config.Password.Rejected()
	}
}

// changes reports whether another reading may return other credentials.
func (s *source) changes() bool { return s.config.ReadDSN != nil || s.config.Password != nil }

// sameSettings compares the parts of two settings that a server sees: hosts, user,
// password, database, certificates and authorities.
func sameSettings(a, b *pgx.ConnConfig) bool {
	return a.Host == b.Host && a.Port == b.Port && a.Database == b.Database && a.User == b.User && a.Password == b.Password &&
		a.ConnectTimeout == b.ConnectTimeout && maps.Equal(a.RuntimeParams, b.RuntimeParams) && sameTLS(a.TLSConfig, b.TLSConfig) &&
		slices.EqualFunc(a.Fallbacks, b.Fallbacks, func(a, b *pgconn.FallbackConfig) bool {
			return a.Host == b.Host && a.Port == b.Port && sameTLS(a.TLSConfig, b.TLSConfig)
		})
}

func sameTLS(a, b *tls.Config) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.ServerName == b.ServerName && a.InsecureSkipVerify == b.InsecureSkipVerify && a.RootCAs.Equal(b.RootCAs) &&
		slices.EqualFunc(a.Certificates, b.Certificates, func(a, b tls.Certificate) bool {
			return slices.EqualFunc(a.Certificate, b.Certificate, slices.Equal)
		})
}

// refusedCredentials reports whether a server answered that user, password or
// certificate are not accepted (class 28: invalid authorization).
func refusedCredentials(err error) bool {
	var refused *pgconn.PgError
	return errors.As(err, &refused) && len(refused.Code) == 5 && refused.Code[:2] == "28"
}
