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

// windowSlack is the time that a value may be in transit. The window of recent changes
// reaches back for the longest lifetime of a value, and for this time more.
const windowSlack = time.Minute

// Config is the configuration of a [Service]. Database is required; any other zero field
// takes its default.
type Config struct {
	Database Database
	// Members lists the prefixes of all keys, so that forged keys are refused without a
	// look-up. Nil: each forged key costs a look-up.
	Members Members
	// MostUsed lists the keys with which the cache is warmed. Nil: it is not warmed.
	MostUsed MostUsed
	// Shared is Redis. Nil: everything is kept in process.
	Shared remote.Store
	// Sealing holds the keys that make API keys and decisions in Shared trustworthy.
	// Without any, checks go to the database; Shared only holds lists and usage, and
	// carries change notifications. See [Service.SetSealing].
	Sealing seal.Keys

	ValidationTTL time.Duration // lifetime of keys and roles; up to a tenth is subtracted at random
	NegativeTTL   time.Duration // lifetime of "no such key"
	ScopeTTL      time.Duration // lifetime, in Shared, of what a key's roles allow
	UserListTTL   time.Duration
	SharedBudget  time.Duration // the longest that a check waits for one call of Shared
	LookupWait    time.Duration // the longest that a check waits for a look-up that L1 can't answer
	MaxKeys       int           // entries in L1
	MaxBytes      int           // memory of these entries at most, from l1.MinBytes to l1.MaxBytes; the table of roles and each of the two of negative entries may take as much again
	MaxNegative   int           // entries for unknown keys, and as many for unknown roles; not counted in MaxKeys
	MaxRoles      int
	MaxUserLists  int

	// Lease is how long L1 answers without the database, counted from the start of a
	// complete feed read. It bounds how long another replica may serve a revoked key
	// while the database can be reached.
	Lease time.Duration
	// MaxStale is how long L1 answers while the database is unreachable, counted from the
	// same moment as Lease.
	MaxStale time.Duration
	// Poll is the pause between two feed reads if no notification arrives. It must be
	// shorter than Lease.
	Poll time.Duration
	// Retention is how far back the feed and the window of recent changes reach. It must
	// be longer than anything cached can live: see [Config.MinRetention].
	Retention time.Duration
	// FlightBudget is how long one look-up in the database may take. It is at most Lease,
	// since a caller that joins a flight may get the state that the flight read at its
	// start. Its default is DefaultFlightBudget, or Lease if that is shorter.
	FlightBudget time.Duration

	FlushEvery time.Duration // usage is written to the database at least this often
	// CollectEvery is how often Shared and SpoolDir are searched for usage that a process
	// left there because the database did not accept it.
	CollectEvery time.Duration
	FlushAt      uint64 // usage of a key with this many uses is written within a second
	// SpoolDir is a folder for files of usage that the database does not accept. Empty:
	// such usage is in Shared, or else in memory alone.
	SpoolDir   string
	SpoolBytes int64  // size of this process's files in SpoolDir, at most
	Instance   string // name of this process; no two may share it. Empty: a random one

	Warm    WarmConfig
	Monitor MonitorConfig

	Now        func() time.Time // must return a monotonic reading; nil: time.Now
	Jitter     func() float64   // returns values in [0,1); nil: that of math/rand
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

// usage returns the configuration of the recorder that counts uses.
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

// MinRetention returns the least valid Retention of a config without zero fields: the
// longest that anything cached can live, plus the time that it may be in transit. While
// the database is unreachable, a record may be used for MaxStale beyond its own lifetime.
func (c Config) MinRetention() time.Duration {
	return sum(max(sum(c.ValidationTTL, c.MaxStale), c.ScopeTTL, c.UserListTTL, c.NegativeTTL), windowSlack)
}

// sum returns a+b, or the longest duration if that overflows.
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
