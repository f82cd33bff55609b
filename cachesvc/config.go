package cachesvc

import (
	cryptorand "crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"extauthz/cachesvc/internal/l1"
	"extauthz/cachesvc/internal/remote"
	"extauthz/cachesvc/internal/usage"
	"extauthz/cachesvc/seal"
)

// Defaults of [Config].
const (
	DefaultValidationTTL = 5 * time.Minute
	DefaultNegativeTTL   = 10 * time.Second
	DefaultScopeTTL      = 10 * time.Minute
	DefaultUserListTTL   = 30 * time.Minute
	DefaultSharedBudget  = 50 * time.Millisecond
	DefaultMaxKeys       = 1_000_000
	DefaultMaxBytes      = 512 << 20
	DefaultMaxNegative   = 100_000
	DefaultMaxRoles      = 10_000
	DefaultMaxUserLists  = 10_000
	DefaultLease         = time.Second
	DefaultMaxStale      = 5 * time.Minute
	DefaultPoll          = 250 * time.Millisecond
	DefaultRetention     = time.Hour
	DefaultFlightBudget  = 500 * time.Millisecond
	DefaultLookupWait    = 150 * time.Millisecond
	DefaultFlushEvery    = 2 * time.Second
	DefaultCollectEvery  = time.Minute
	DefaultFlushAt       = 10
	DefaultSpoolBytes    = 32 << 20
)

// windowSlack is how much longer than the longest life of a value the window of recent
// changes reaches back: the time that a value may be in transit.
const windowSlack = time.Minute

// Config of a [Service]. Zero fields but Database take their defaults.
type Config struct {
	Database Database
	// Members lets forged keys be refused without a look-up. Nil: each costs one.
	Members Members
	// MostUsed lets the cache be warmed. Nil: it is not.
	MostUsed MostUsed
	// Shared is Redis. Nil: everything is kept in process.
	Shared remote.Store
	// Sealing lets keys and decisions in Shared be trusted. None: Shared holds lists and
	// usage and carries change notifications, and checks go to the database. See
	// [Service.SetSealing].
	Sealing seal.Keys

	ValidationTTL time.Duration // of keys and roles; up to a tenth is taken off at random
	NegativeTTL   time.Duration // of "no such key"
	ScopeTTL      time.Duration // of what a key's roles allow, in Shared
	UserListTTL   time.Duration
	SharedBudget  time.Duration // the longest that a check waits for Shared, once
	LookupWait    time.Duration // the longest that a check waits for a look-up that L1 can't answer
	MaxKeys       int           // entries in L1
	MaxBytes      int           // that they take up at most, from l1.MinBytes to l1.MaxBytes; roles, and negative entries, as many again
	MaxNegative   int           // entries for unknown keys, apart from MaxKeys
	MaxRoles      int
	MaxUserLists  int

	// Lease is how long after the start of a complete feed read L1 answers without the
	// database. It is the bound of a revocation on other replicas.
	Lease time.Duration
	// MaxStale is how long after that start L1 answers while the database is
	// unreachable.
	MaxStale time.Duration
	// Poll is the pause between two feed reads without a notification; under Lease.
	Poll time.Duration
	// Retention is how long the feed and the window of recent changes reach
	// back: longer than anything cached can live.
	Retention time.Duration
	// FlightBudget is how long one look-up in the database may take; at most
	// Lease, since a caller that joins a flight may get what it read at its start.
	// Its default is DefaultFlightBudget, or a shorter Lease.
	FlightBudget time.Duration

	FlushEvery time.Duration // usage goes to the database at least this often
	// CollectEvery is how often Shared and SpoolDir are searched for usage that a
	// process left there because the database did not take it.
	CollectEvery time.Duration
	FlushAt      uint64 // a key with so many uses goes within a second
	// SpoolDir is a folder for files of usage that neither the database nor Shared
	// takes. Empty: such usage is in memory alone.
	SpoolDir   string
	SpoolBytes int64  // most that this process keeps there
	Instance   string // names this process; no two may share it. Empty: a random one

	Warm    WarmConfig
	Monitor MonitorConfig

	Now        func() time.Time // with a monotonic reading; time.Now
	Jitter     func() float64   // [0,1); math/rand's
	Logger     *slog.Logger     // nil: nothing is logged
	Registerer prometheus.Registerer
}

func (c Config) withDefaults() Config {
	setDefault(&c.ValidationTTL, DefaultValidationTTL)
	setDefault(&c.NegativeTTL, DefaultNegativeTTL)
	setDefault(&c.ScopeTTL, DefaultScopeTTL)
	setDefault(&c.UserListTTL, DefaultUserListTTL)
	setDefault(&c.SharedBudget, DefaultSharedBudget)
	setDefault(&c.MaxKeys, DefaultMaxKeys)
	setDefault(&c.MaxBytes, DefaultMaxBytes)
	setDefault(&c.MaxNegative, DefaultMaxNegative)
	setDefault(&c.MaxRoles, DefaultMaxRoles)
	setDefault(&c.MaxUserLists, DefaultMaxUserLists)
	setDefault(&c.Lease, DefaultLease)
	setDefault(&c.MaxStale, DefaultMaxStale)
	setDefault(&c.Poll, DefaultPoll)
	setDefault(&c.Retention, DefaultRetention)
	setDefault(&c.FlightBudget, min(DefaultFlightBudget, c.Lease))
	setDefault(&c.LookupWait, DefaultLookupWait)
	setDefault(&c.FlushEvery, DefaultFlushEvery)
	setDefault(&c.CollectEvery, DefaultCollectEvery)
	setDefault(&c.FlushAt, DefaultFlushAt)
	setDefault(&c.SpoolBytes, DefaultSpoolBytes)
	c.Warm = c.Warm.withDefaults()
	c.Monitor = c.Monitor.withDefaults()
	if c.Instance == "" {
		c.Instance = cryptorand.Text()
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Jitter == nil {
		c.Jitter = rand.Float64
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

// usage returns the configuration of the recorder of uses.
func (c Config) usage(shared *remote.Client) usage.Config {
	return usage.Config{
		Sink: c.Database, Remote: shared, Source: c.Instance,
		FlushEvery: c.FlushEvery, CollectEvery: c.CollectEvery, Threshold: c.FlushAt, MaxKeys: c.MaxKeys,
		SpoolDir: c.SpoolDir, SpoolBytes: c.SpoolBytes, Now: c.Now, Logger: c.Logger,
	}
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// MinRetention is what Retention may be at least, of a config without zeros: the
// longest that anything cached can live, and time for it to be in transit. A record that
// can't be compared with the database lives MaxStale beyond its own time.
func (c Config) MinRetention() time.Duration {
	return sum(max(sum(c.ValidationTTL, c.MaxStale), c.ScopeTTL, c.UserListTTL, c.NegativeTTL), windowSlack)
}

// sum is a+b, and the longest duration where that overflows.
func sum(a, b time.Duration) time.Duration {
	if a > 0 && b > math.MaxInt64-a {
		return math.MaxInt64
	}
	return a + b
}

// validate reports every problem at once.
func (c Config) validate() error {
	var errs []error
	if c.Database == nil {
		errs = append(errs, errors.New("cache: no database given"))
	}
	for _, d := range []struct {
		name  string
		value time.Duration
	}{
		{"ttl.validation", c.ValidationTTL}, {"ttl.negative", c.NegativeTTL}, {"ttl.user_list", c.UserListTTL},
		{"ttl.scope", c.ScopeTTL}, {"redis.budget", c.SharedBudget},
		{"local.lease", c.Lease}, {"local.max_stale", c.MaxStale}, {"feed.poll", c.Poll},
		{"feed.retention", c.Retention}, {"flight budget", c.FlightBudget}, {"look-up wait", c.LookupWait}, {"usage.flush_interval", c.FlushEvery}, {"ttl.usage_batch", c.CollectEvery},
	} {
		if d.value < 0 {
			errs = append(errs, fmt.Errorf("cache: %s is %s; it must be positive", d.name, d.value))
		}
	}
	for _, n := range []struct {
		name  string
		value int
	}{
		{"local.max_keys", c.MaxKeys}, {"local.max_negative", c.MaxNegative},
		{"number of roles", c.MaxRoles}, {"number of user lists", c.MaxUserLists},
	} {
		if n.value < 0 {
			errs = append(errs, fmt.Errorf("cache: %s is %d; it must be positive", n.name, n.value))
		}
	}
	if c.MaxBytes < l1.MinBytes || c.MaxBytes > l1.MaxBytes {
		errs = append(errs, fmt.Errorf("cache: local.max_mib is %d; it must be from %d to %d", c.MaxBytes>>20, l1.MinBytes>>20, l1.MaxBytes>>20))
	}
	if c.Poll >= c.Lease {
		errs = append(errs, fmt.Errorf("cache: feed.poll (%s) must be shorter than local.lease (%s)", c.Poll, c.Lease))
	}
	if c.FlightBudget > c.Lease {
		errs = append(errs, fmt.Errorf("cache: the flight budget (%s) must not be longer than local.lease (%s)", c.FlightBudget, c.Lease))
	}
	if c.MaxStale < c.Lease {
		errs = append(errs, fmt.Errorf("cache: local.max_stale (%s) must not be shorter than local.lease (%s)", c.MaxStale, c.Lease))
	}
	if least := c.MinRetention(); c.Retention < least {
		errs = append(errs, fmt.Errorf("cache: feed.retention (%s) must be at least %s: longer than anything cached can live", c.Retention, least))
	}
	return errors.Join(errs...)
}
