package administrators

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"extauthz/authz"
	"extauthz/authz/keyring"
)

// Config holds what the service needs. Every field is required.
type Config struct {
	Format   *authz.KeyFormat      // new keys are of its first environment
	Peppers  func() *authz.Peppers // returns the current ones
	Random   io.Reader             // fit for secrets and for concurrent use
	Now      func() time.Time      // the database's time
	Store    Store
	Notifier keyring.Notifier // of changed keys
	Logger   *slog.Logger
}

func (c Config) validate() error {
	var problems []error
	need := func(there bool, field string) {
		if !there {
			problems = append(problems, fmt.Errorf("administrators: %s is missing", field))
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

// Service manages administrators. Its methods may be called concurrently. Each method that
// changes something is one transaction.
type Service struct {
	format   *authz.KeyFormat
	peppers  func() *authz.Peppers
	random   io.Reader
	clock    func() time.Time
	store    Store
	notifier keyring.Notifier
	log      *slog.Logger

	lastMu sync.Mutex
	last   map[string]lastAnswer // by family: what the database answered last, see Principal
}

// New returns a service, or an error that names every missing field of c.
func New(c Config) (*Service, error) {
	if err := c.validate(); err != nil {
		return nil, err
	}
	return &Service{format: c.Format, peppers: c.Peppers, random: c.Random, clock: c.Now, store: c.Store,
		notifier: c.Notifier, log: c.Logger, last: map[string]lastAnswer{}}, nil
}

// now returns the time in the precision of databases, so that an answer equals what is
// stored.
func (s *Service) now() time.Time { return s.clock().UTC().Truncate(time.Microsecond) }

func (s *Service) newID() (string, error) {
	id, err := uuid.NewV7FromReader(s.random)
	if err != nil {
		return "", fmt.Errorf("read random bytes for an id: %w", err)
	}
	return id.String(), nil
}

// draft is a change while it is prepared: the administration as it is, and what changes.
type draft struct {
	p      keyring.Principal
	now    time.Time
	before authz.Administration
	change authz.AdministrationChange
}

// maxAttempts bounds how often a change begins anew after a collision of prefixes.
const maxAttempts = 5

// change is the only way to change the administration. decide prepares the change, and admit
// applies the rules to it, all in the transaction that writes. It returns the administration
// as it is afterwards.
func (s *Service) change(ctx context.Context, p keyring.Principal, decide func(*draft) error) (after authz.Administration, err error) {
	var written []authz.Record
	for attempt := 1; ; attempt++ {
		written, err = s.store.ChangeAdministration(ctx, func(before authz.Administration) (authz.AdministrationChange, error) {
			d := &draft{p: p, now: s.now(), before: before}
			if err := decide(d); err != nil {
				return authz.AdministrationChange{}, err
			}
			after = before.After(&d.change)
			if d.change.Empty() {
				return d.change, nil
			}
			return d.change, s.admit(d, after)
		})
		if attempt == maxAttempts || !errors.Is(err, authz.ErrConflict) || errors.As(err, new(nameTaken)) {
			break
		}
	}
	if err != nil {
		return authz.Administration{}, err
	}
	s.forget()
	s.notify(ctx, written)
	return after, nil
}

// admit returns an error if the rules forbid the change.
func (s *Service) admit(d *draft, after authz.Administration) error {
	if !d.p.System {
		if d.p.AdministratorID != "" {
			caller := byID(d.before.Administrators, d.p.AdministratorID)
			if caller == nil || unreadable(caller, d.before.Roles) != "" || caller.Status(d.now) != authz.StatusActive {
				return fmt.Errorf("%w: you are no administrator any more", keyring.ErrForbidden)
			}
		}
		if err := judge(d.p.AdministratorID, d.power(), d.before, after); err != nil {
			return err
		}
	}
	return s.keepOwner(d.p, d.before, after, d.now)
}

// notify makes this replica use the keys as they are now. The change is committed, so the
// notification does not depend on a caller that may have gone.
func (s *Service) notify(ctx context.Context, written []authz.Record) {
	if len(written) == 0 {
		return
	}
	changes := make([]authz.Change, len(written))
	for i, rec := range written {
		changes[i] = authz.Change{Version: rec.Version, Kind: authz.ChangeKey, Prefix: rec.Prefix, KeyID: rec.ID, UserID: rec.UserID}
	}
	s.notifier.Changed(context.WithoutCancel(ctx), changes)
}

// own returns the administrator that ref, an id or a name, names. The caller has to see it
// and to have the permission, unless it is the caller itself.
func (d *draft) own(ref string, permission keyring.Permission) (authz.Administrator, error) {
	x := d.before.Find(ref)
	if x == nil || d.p.AdministratorID != x.ID {
		if err := d.p.Require(permission); err != nil {
			return authz.Administrator{}, err
		}
	}
	if x != nil && sees(d.p, x) {
		return *x, nil
	}
	return authz.Administrator{}, fmt.Errorf("administrator: %w: there is none of that id or name that you may see", authz.ErrNotFound)
}

// sees reports whether an administrator exists for the principal: itself, those that act
// in projects in which it may act too, and those that it made and that act in none.
func sees(p keyring.Principal, x *authz.Administrator) bool {
	if p.System || p.AdministratorID == x.ID || slices.Contains(p.Grants.Projects, keyring.AllProjects) {
		return true
	}
	for _, project := range x.Grants.Projects {
		if !slices.Contains(p.Grants.Projects, project) {
			return false
		}
	}
	return x.Unreadable == "" && (len(x.Grants.Projects) > 0 || x.CreatedBy == p.AdministratorID)
}

// firstVersion returns the version of an administrator or a role that is new. Both are also
// called by a name, which can be used again after a removal, and an If-Match from before
// must not match then. The versions of the removed one were below the present time.
func firstVersion(now time.Time) uint64 { return uint64(max(now.UnixMicro(), 1)) } // #nosec G115 -- not negative

// put writes an administrator that was changed.
func (d *draft) put(x authz.Administrator) {
	x.Version, x.UpdatedAt = x.Version+1, d.now
	d.change.Put = append(d.change.Put, x)
}
