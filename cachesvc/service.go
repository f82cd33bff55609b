package cachesvc

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"extauthz/authz"
	"extauthz/cachesvc/internal/freshness"
	"extauthz/cachesvc/internal/l1"
	"extauthz/cachesvc/internal/membership"
	"extauthz/cachesvc/internal/remote"
	"extauthz/cachesvc/internal/usage"
	"extauthz/cachesvc/seal"
	"extauthz/cachesvc/store"
	"extauthz/cachesvc/store/memory"
)

// Service is the cached validator. Its methods are safe for concurrent use.
type Service struct {
	db    Database
	log   *slog.Logger
	trust *trust

	keys  *reader[l1.Credential]
	roles *reader[authz.Role]
	lists store.Store // lists of users' keys; used if there is no shared store
	usage *usage.Recorder
	// shared and notifier are nil without Redis.
	shared   *remote.Client
	notifier *notifier
	sealing  atomic.Pointer[seal.Keys]
	warm     *warmer
	monitor  *monitor
	// members is nil if the configuration has no Members.
	members *membership.Filter
	inquiry *membership.Inquiry // nil if members is nil

	instance    string
	maxKeys     int
	scopeTTL    time.Duration
	userListTTL time.Duration
	poll        time.Duration
	retention   time.Duration

	feed   feedState
	wake   chan struct{}
	ready  chan struct{}
	bulk   int // bulkChanges, except in tests
	states stateLog

	listCounts   counts
	sharedCounts sharedCounts
	history      history
	metrics      *metrics
}

var (
	_ authz.Validator     = (*Service)(nil)
	_ authz.UsageRecorder = (*Service)(nil)
)

// New makes a service. It does no I/O: [Service.Run] does. An error names every
// problem of the configuration.
func New(c Config) (*Service, error) { return newService(c) }

// option changes a service before it runs. Options are for this package's tests.
type option func(*Service)

func newService(c Config, options ...option) (*Service, error) {
	c = c.withDefaults()
	if err := c.validate(); err != nil {
		return nil, err
	}
	t := newTrust(c)
	lists, err := memory.New(memory.Config{MaxEntries: c.MaxUserLists, Now: c.Now})
	if err != nil {
		return nil, fmt.Errorf("store of user lists: %w", err)
	}
	shared := remote.NewClient(c.Shared, t.clock, c.Logger, c.SharedBudget)
	s := &Service{
		shared: shared,
		db:     c.Database, log: c.Logger, trust: t,
		keys:     newReader(c, t, freshness.SubjectKey, c.MaxKeys, l1.NewKeyCodec(), keyLoader{c.Database}),
		roles:    newReader(c, t, freshness.SubjectRole, c.MaxRoles, l1.RoleCodec{}, roleLoader{c.Database}),
		lists:    lists,
		usage:    usage.New(c.usage(shared)),
		instance: c.Instance, maxKeys: c.MaxKeys, scopeTTL: c.ScopeTTL, userListTTL: c.UserListTTL, poll: c.Poll, retention: c.Retention,
		wake: make(chan struct{}, 1), ready: make(chan struct{}), bulk: bulkChanges,
	}
	s.SetSealing(c.Sealing)
	if s.shared != nil {
		s.shared.Filter = s.underLimit
		s.notifier = newNotifier(s.shared, c.Instance)
		s.keys.fetch, s.keys.share = s.fetchKey, s.shareKey
	}
	s.warm = newWarmer(c)
	s.monitor = newMonitor(c.Monitor)
	if c.Members != nil {
		s.inquiry = membership.NewInquiry(t.lease, t.clock, s.Wake)
		s.members = membership.New(membership.Config{Source: c.Members, Lease: t.lease, Clock: t.clock, Logger: c.Logger, Await: s.inquiry.Await})
		s.keys.screen = s.members.Screen
	}
	s.metrics = newMetrics(s)
	if c.Registerer != nil {
		if err := c.Registerer.Register(s.metrics); err != nil {
			return nil, fmt.Errorf("registering the cache's metrics: %w", err)
		}
	}
	for _, change := range options {
		change(s)
	}
	return s, nil
}

func newReader[T any](c Config, t *trust, about freshness.Subject, limit int, by l1.Codec[T], database loader[T]) *reader[T] {
	return &reader[T]{
		trust: t, subject: about,
		present: l1.NewTable(limit, c.MaxBytes, l1.HotValues, by), negative: l1.NewTable(c.MaxNegative, c.MaxBytes, l1.HotNegativeValues, by),
		flights: newFlights[*l1.Value[T]](c.FlightBudget, t.clock),
		ttl:     c.ValidationTTL, negativeTTL: c.NegativeTTL, maxStale: c.MaxStale, wait: c.LookupWait, jitter: c.Jitter,
		database: database,
	}
}

// Run reads the change feed and writes usage until ctx ends, and then waits for running
// look-ups. Without Run every look-up goes to the database. ctx should end after the last
// check was answered; call [Service.Flush] then. The error is always nil: every failure
// is tried again, and [Service.Status] shows it.
func (s *Service) Run(ctx context.Context) error {
	var running sync.WaitGroup
	running.Go(func() { s.followFeed(ctx) })
	running.Go(func() { s.usage.Run(ctx) })
	if s.members != nil {
		running.Go(func() { s.members.Run(ctx) })
		running.Go(func() { s.inquiry.Run(ctx) })
	}
	if s.shared != nil {
		running.Go(func() { s.shared.Run(ctx) })
		running.Go(func() { s.notifier.run(ctx) })
		running.Go(func() { s.listenForChanges(ctx) })
	}
	running.Go(func() { s.keepWarm(ctx) })
	running.Go(func() { s.watch(ctx) })
	running.Wait()
	s.keys.flights.drain()
	s.roles.flights.drain()
	return nil
}

// Used counts one use of a key. It does no I/O, and allocates nothing for a key that was
// used since the last flush. Safe for concurrent use.
func (s *Service) Used(keyID string, at time.Time) { s.usage.Used(keyID, at) }

// Flush writes all counted uses to the database. Uses that the database does not accept
// go to Redis or a file, and are written to the database later. Call Flush at shutdown,
// when no more checks arrive. An error means that some uses are in memory alone; the call
// may be repeated.
func (s *Service) Flush(ctx context.Context) error { return s.usage.Flush(ctx) }

// SetSealing replaces the keys that seal values in the shared store. A value that none of
// the new keys opens is read from the database again.
func (s *Service) SetSealing(keys seal.Keys) {
	keys = slices.Clone(keys)
	s.sealing.Store(&keys)
}

var _ prometheus.Collector = (*metrics)(nil)
