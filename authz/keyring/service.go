package keyring

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"time"

	"github.com/google/uuid"

	"extauthz/authz"
)

// Config is what the service is made of. Every field but Lists and Purger is required.
type Config struct {
	Format *authz.KeyFormat // a key that is requested without an environment gets the first one
	// Peppers returns the current peppers, so that they can be rotated while the service
	// runs.
	Peppers func() *authz.Peppers
	// Random is the source of the keys' secrets and the records' ids. It must be fit for
	// secrets and safe for concurrent use (crypto/rand.Reader).
	Random io.Reader
	// Now is the database's time, by which keys expire.
	Now      func() time.Time
	Store    Store
	Notifier Notifier
	Lists    Lists  // nil: lists are always read from the store
	Purger   Purger // nil: Purge fails
	Logger   *slog.Logger
}

func (c Config) validate() error {
	var problems []error
	need := func(there bool, field string) {
		if !there {
			problems = append(problems, fmt.Errorf("keyring: %s is missing", field))
		}
	}
	need(c.Format != nil, "Format")
	need(c.Peppers != nil, "Peppers")
	need(c.Random != nil, "Random")
	need(c.Now != nil, "Now")
	need(c.Store != nil, "Store")
	need(c.Notifier != nil, "Notifier")
	need(c.Logger != nil, "Logger")
	return errors.Join(problems...)
}

// Service is the keys service. Its methods may be called concurrently; each
// that changes something is one transaction unless stated otherwise.
type Service struct {
	format       *authz.KeyFormat
	environments []string
	peppers      func() *authz.Peppers
	random       io.Reader
	clock        func() time.Time
	store        Store
	notifier     Notifier
	lists        Lists
	purger       Purger
	log          *slog.Logger
}

// New returns a service, or an error that names every missing field.
func New(c Config) (*Service, error) {
	if err := c.validate(); err != nil {
		return nil, err
	}
	return &Service{
		format: c.Format, environments: c.Format.Environments(), peppers: c.Peppers,
		random: c.Random, clock: c.Now, store: c.Store, notifier: c.Notifier, lists: c.Lists, purger: c.Purger, log: c.Logger,
	}, nil
}

// maxAttempts bounds how often a call is tried. It is tried again after a collision of
// prefixes (one in 62^8), or if roles changed while they were read.
const maxAttempts = 5

// now returns the time in the precision that databases store, so that an answer equals
// what is stored.
func (s *Service) now() time.Time { return storable(s.clock()) }

func storable(t time.Time) time.Time {
	if t.IsZero() {
		return time.Time{}
	}
	return t.UTC().Truncate(time.Microsecond)
}

func (s *Service) newID() (string, error) {
	id, err := uuid.NewV7FromReader(s.random)
	if err != nil {
		return "", fmt.Errorf("read random bytes for an id: %w", err)
	}
	return id.String(), nil
}

// mutate writes what fn returns, and calls the notifier with the keys that were written.
func (s *Service) mutate(ctx context.Context, sel authz.Selection, fn func([]authz.Record) (authz.Mutation, error)) ([]authz.Record, error) {
	written, err := s.store.Mutate(ctx, sel, fn)
	if err != nil {
		return nil, err
	}
	if len(written) > 0 {
		changes := make([]authz.Change, len(written))
		for i, rec := range written {
			changes[i] = authz.Change{
				Version: rec.Version, Kind: authz.ChangeKey,
				Prefix: rec.Prefix, KeyID: rec.ID, UserID: rec.UserID,
			}
		}
		// The change is committed, so this replica must apply it even if the caller has
		// gone.
		s.notifier.Changed(context.WithoutCancel(ctx), changes)
	}
	return written, nil
}

// retryCollision calls f again, up to maxAttempts times, while a prefix is taken.
func retryCollision(f func() error) error {
	var err error
	for range maxAttempts {
		if err = f(); !errors.Is(err, authz.ErrConflict) {
			return err
		}
	}
	return err
}

// roleSet holds the roles that were read before a transaction, by name; nil if there is
// no such role.
type roleSet map[string]*authz.Role

// unreadRoles is the error of a transaction that needs roles which were not read before
// it. They are not read within the transaction, because a store may have a single
// connection.
type unreadRoles []string

func (u unreadRoles) Error() string { return "the roles of the key change too fast: try again" }

func (s *Service) readRoles(ctx context.Context, names []string) (roleSet, error) {
	set := make(roleSet, len(names))
	if len(names) == 0 {
		return set, nil
	}
	for _, name := range names {
		set[name] = nil
	}
	found, err := s.store.NamedRoles(ctx, slices.Compact(slices.Sorted(slices.Values(names))))
	if err != nil {
		return nil, fmt.Errorf("read roles: %w", err)
	}
	for i := range found {
		set[found[i].Name] = &found[i]
	}
	return set, nil
}

// readable returns authz.ErrUnreadable for a key whose rights are not known, since its
// row or that of a role is damaged. Such a key can be ended, but not extended: once
// repaired, it might hold more than the caller may grant.
func (r roleSet) readable(rec *authz.Record) error {
	if rec.Unreadable != "" {
		return fmt.Errorf("%w: key %s: %s", authz.ErrUnreadable, rec.Prefix, rec.Unreadable)
	}
	for _, name := range rec.Roles {
		if role := r[name]; role != nil && role.Unreadable != "" {
			return fmt.Errorf("%w: role %s: %s", authz.ErrUnreadable, name, role.Unreadable)
		}
	}
	return nil
}

// rights returns the scopes of a key, its own and those of its roles. A role that does
// not exist, or that can't be read, grants nothing.
func (r roleSet) rights(rec *authz.Record) (authz.Scopes, error) {
	rights := rec.Scopes
	var unread unreadRoles
	for _, name := range rec.Roles {
		role, read := r[name]
		switch {
		case !read:
			unread = append(unread, name)
		case role != nil:
			rights = rights.Union(role.Scopes)
		}
	}
	if unread != nil {
		return nil, unread
	}
	return rights, nil
}

// mutateKnowing is mutate for an fn that needs roles: those in names, and those of the
// selected keys.
func (s *Service) mutateKnowing(ctx context.Context, names []string, sel authz.Selection, fn func([]authz.Record, roleSet) (authz.Mutation, error)) ([]authz.Record, error) {
	names = slices.Clone(names)
	for attempt := 1; ; attempt++ {
		roles, err := s.readRoles(ctx, names)
		if err != nil {
			return nil, err
		}
		written, err := s.mutate(ctx, sel, func(selected []authz.Record) (authz.Mutation, error) {
			return fn(selected, roles)
		})
		var unread unreadRoles
		if !errors.As(err, &unread) || attempt == maxAttempts {
			return written, err
		}
		names = append(names, unread...)
	}
}
