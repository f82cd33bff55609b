package config

import (
	"path/filepath"
	"time"

	"extauthz/cachesvc"
)

// Cache configures the cached validator.
type Cache struct {
	// First part of every name in Redis.
	Namespace string `koanf:"namespace"`
	// Redis; without addresses the cache is in process only.
	Redis Redis `koanf:"redis"`
	// How long cached values live.
	TTL TTL `koanf:"ttl"`
	// The cache in process.
	Local Local `koanf:"local"`
	// The change feed, by which replicas learn of revocations.
	Feed Feed `koanf:"feed"`
	// File with the keys, 32 bytes or more each, that seal records in Redis: one a line, the first one seals, all of them open. None: Redis is not trusted for authorization.
	SealingKeyFile string `koanf:"sealing_key_file"`
	// Warming: keys that are loaded before their first request.
	Warm Warm `koanf:"warm"`
	// Thresholds of the cache's monitors.
	Monitor Monitor `koanf:"monitor"`
}

// Warm configures which keys are loaded before requests need them.
type Warm struct {
	// Number of the most used keys to load at the start and on schedule; 0: none.
	Keys int `koanf:"keys" min:"0"`
	// Time between two warmings; 0: at the start only.
	Interval time.Duration `koanf:"interval" min:"0s"`
	// Longest time that readiness waits for the warming at the start.
	Wait time.Duration `koanf:"wait" min:"0s"`
}

// Monitor sets the thresholds at which the cache's monitors warn.
type Monitor struct {
	// Time between two checks.
	Interval time.Duration `koanf:"interval" min:"1s"`
	// Share of Redis's maxmemory that may be in use, 0 to 1.
	Memory float64 `koanf:"memory" min:"0" max:"1"`
	// Share of look-ups that L1 should answer, 0 to 1.
	HitRate float64 `koanf:"hit_rate" min:"0" max:"1"`
	// Most entries under one namespace in Redis.
	Entries int `koanf:"entries" min:"1"`
}

// Redis configures the shared cache.
type Redis struct {
	// Addresses, host:port: one, the sentinels', or some of the cluster's.
	Addresses []string `koanf:"addresses" format:"endpoint"`
	// Kind of Redis at the addresses.
	Mode string `koanf:"mode" enum:"single,sentinel,cluster"`
	// Name of the master that the sentinels watch.
	SentinelMaster string `koanf:"sentinel_master"`
	// Password of the sentinels.
	SentinelPassword Secret `koanf:"sentinel_password"`
	// File that holds the sentinels' password instead.
	SentinelPasswordFile string `koanf:"sentinel_password_file"`
	// User name of Redis.
	Username string `koanf:"username"`
	// Password of Redis.
	Password Secret `koanf:"password"`
	// File that holds the password instead. It is read for each new connection.
	PasswordFile string `koanf:"password_file"`
	// Program, with its arguments, that writes the password to its standard output, such as a cloud's short-lived token. It is run without a shell, for 10s at most.
	PasswordCommand []string `koanf:"password_command"`
	// How long one output of password_command is used for new connections. Shorter than the password's lifetime.
	PasswordInterval time.Duration `koanf:"password_interval" min:"1s" max:"24h"`
	// Number of the database; clusters have 0 only.
	DB int `koanf:"db" min:"0" max:"65535"`
	// TLS towards Redis.
	TLS RedisTLS `koanf:"tls"`
	// Longest time that one check waits for Redis.
	Budget time.Duration `koanf:"budget" min:"1ms"`
}

// RedisTLS configures TLS towards Redis.
type RedisTLS struct {
	// Whether to use TLS.
	Enabled bool `koanf:"enabled"`
	// PEM file with the authorities that are trusted; empty: the system's.
	CAFile string `koanf:"ca_file"`
	// PEM file with the client certificate.
	CertFile string `koanf:"cert_file"`
	// PEM file with its private key.
	KeyFile string `koanf:"key_file"`
	// Name that the server's certificate must carry; empty: the address's host.
	ServerName string `koanf:"server_name"`
}

// TTL limits how long cached values live.
type TTL struct {
	// Records of keys.
	Validation time.Duration `koanf:"validation" min:"1ms"`
	// Answers to "may this key do that".
	Scope time.Duration `koanf:"scope" min:"1ms"`
	// Lists of a user's keys.
	UserList time.Duration `koanf:"user_list" min:"1ms"`
	// Time between searches for usage that other processes left in Redis or in files while the database was unavailable.
	UsageBatch time.Duration `koanf:"usage_batch" min:"1ms"`
	// Statistics of each replica in Redis.
	Stats time.Duration `koanf:"stats" min:"1ms"`
	// Negative entries: keys that do not exist.
	Negative time.Duration `koanf:"negative" min:"1ms"`
}

// Local configures the cache in process.
type Local struct {
	// Most keys held.
	MaxKeys int `koanf:"max_keys" min:"1"`
	// Most memory for cached keys, in MiB; a key takes 0.2 kB, with much metadata up to 35 kB.
	MaxMiB int `koanf:"max_mib" min:"1" max:"65536"`
	// Most negative entries (keys that do not exist).
	MaxNegative int `koanf:"max_negative" min:"1"`
	// Lease: time after the last complete feed read in which cached keys are used without a database query.
	Lease time.Duration `koanf:"lease" min:"1ms"`
	// Time after the last complete feed read in which cached keys are used while the database is unavailable.
	MaxStale time.Duration `koanf:"max_stale" min:"1ms"`
}

// Feed configures the change feed.
type Feed struct {
	// Time between reads; shorter than local.lease.
	Poll time.Duration `koanf:"poll" min:"1ms"`
	// How long changes are kept: at least a minute more than the longest of ttl.scope, user_list, negative, and ttl.validation and local.max_stale together.
	Retention time.Duration `koanf:"retention" min:"1ms"`
}

// CacheService returns the configuration of the cached validator. The caller adds what
// the validator works on, such as the database.
func (c *Config) CacheService() cachesvc.Config {
	spool := ""
	if c.Usage.SpoolMiB > 0 {
		spool = filepath.Join(c.DataDir, "usage")
	}
	return cachesvc.Config{
		ValidationTTL: c.Cache.TTL.Validation, NegativeTTL: c.Cache.TTL.Negative, ScopeTTL: c.Cache.TTL.Scope, UserListTTL: c.Cache.TTL.UserList,
		CollectEvery: c.Cache.TTL.UsageBatch, SharedBudget: c.Cache.Redis.Budget,
		MaxKeys: c.Cache.Local.MaxKeys, MaxBytes: c.Cache.Local.MaxMiB << 20, MaxNegative: c.Cache.Local.MaxNegative,
		Lease: c.Cache.Local.Lease, MaxStale: c.Cache.Local.MaxStale, Poll: c.Cache.Feed.Poll, Retention: c.Cache.Feed.Retention,
		FlushEvery: c.Usage.FlushInterval, FlushAt: uint64(c.Usage.FlushThreshold), SpoolDir: spool, SpoolBytes: int64(c.Usage.SpoolMiB) << 20,
		Warm: cachesvc.WarmConfig{Keys: c.Cache.Warm.Keys, Every: c.Cache.Warm.Interval},
		Monitor: cachesvc.MonitorConfig{Every: c.Cache.Monitor.Interval, Memory: c.Cache.Monitor.Memory, HitRate: c.Cache.Monitor.HitRate,
			Entries: c.Cache.Monitor.Entries, StatsTTL: c.Cache.TTL.Stats},
	}
}
