package config

import (
	"path/filepath"
	"time"

	"extauthz/authz"
	"extauthz/envoy"
)

// The defaults. With them the service runs without a file or a flag: SQLite, a cache in
// process, loopback listeners. [Schema] documents them.
const (
	DefaultDataDir      = "extauthz-data"
	DefaultDatabaseName = "extauthz.db" // name of the SQLite file in the data folder
	DefaultFile         = "extauthz.yaml"

	DefaultGRPCListen            = "127.0.0.1:9001"
	DefaultHTTPListen            = "127.0.0.1:9002"
	DefaultAdminListen           = "127.0.0.1:9003"
	DefaultOpsListen             = "127.0.0.1:9090"
	DefaultMaxConnectionAge      = 10 * time.Minute
	DefaultMaxConnectionAgeGrace = 30 * time.Second
	DefaultDrainDelay            = 3 * time.Second
	DefaultGRPCConnections       = 1000
	DefaultGRPCPendingMiB        = 32
	DefaultHTTPConnections       = 1000
	DefaultHTTPHeaderBytes       = 128 << 10
	DefaultHTTPPendingMiB        = 16
	DefaultAdminConnections      = 100
	DefaultOpsConnections        = 100

	DefaultConnectTimeout   = 2 * time.Second
	DefaultPasswordInterval = 5 * time.Minute // the tokens of cloud providers are valid for three times as long

	DefaultDriver  = "sqlite"
	DefaultMaxOpen = 20
	DefaultMaxIdle = 20 // as many as may be open: new connections under load delay cold keys by 50 ms and more

	DefaultNamespace     = "cache:apikeys"
	DefaultRedisMode     = "single"
	DefaultRedisBudget   = 50 * time.Millisecond
	DefaultTTLValidation = 5 * time.Minute
	DefaultTTLScope      = 10 * time.Minute
	DefaultTTLUserList   = 30 * time.Minute
	DefaultTTLUsageBatch = time.Minute
	DefaultTTLStats      = time.Hour
	DefaultTTLNegative   = 10 * time.Second
	DefaultMaxKeys       = 1_000_000
	DefaultMaxMiB        = 512
	DefaultMaxNegative   = 100_000
	DefaultLease         = time.Second
	DefaultMaxStale      = 5 * time.Minute
	DefaultFeedPoll      = 250 * time.Millisecond
	DefaultFeedRetention = time.Hour

	DefaultWarmKeys        = 10_000
	DefaultWarmInterval    = 10 * time.Minute
	DefaultWarmWait        = 2 * time.Second
	DefaultMonitorInterval = 30 * time.Second
	DefaultMonitorMemory   = 0.8
	DefaultMonitorHitRate  = 0.8
	DefaultMonitorEntries  = 10_000

	DefaultRetentionIdempotency = 24 * time.Hour
	DefaultRetentionUsage       = 30 * 24 * time.Hour
	DefaultRetentionInterval    = time.Hour

	DefaultBrand               = "ak"
	DefaultIdentityPrefix      = "x-auth-"
	DefaultLimitsMode          = "service"
	DefaultRealm               = "api"
	DefaultProblemTypeBase     = "about:blank"
	DefaultOnError             = "unavailable"
	DefaultClientAddressHeader = "x-forwarded-for"
	DefaultFlushThreshold      = 10
	DefaultFlushInterval       = 2 * time.Second
	DefaultSpoolMiB            = 32
	DefaultLogLevel            = "info"
	DefaultLogFormat           = "json"
)

// Defaults returns the configuration of a service without any settings. Each call returns
// new memory. Its database.dsn and default_route are empty; Load fills them in.
func Defaults() *Config {
	return &Config{
		DataDir: DefaultDataDir,
		GRPC: GRPC{
			Listen: DefaultGRPCListen, TLS: TLS{AllowedSANs: []string{}},
			MaxConnectionAge: DefaultMaxConnectionAge, MaxConnectionAgeGrace: DefaultMaxConnectionAgeGrace, DrainDelay: DefaultDrainDelay, Codec: CodecWire,
			MaxConnections: DefaultGRPCConnections, MaxStreams: envoy.DefaultMaxStreams, MaxMessageBytes: envoy.DefaultMaxMessage,
			MaxHeaderBytes: envoy.DefaultMaxHeaders, RequestTimeout: envoy.DefaultRequestTimeout, MaxPendingMiB: DefaultGRPCPendingMiB,
		},
		HTTP: HTTP{
			Listen: DefaultHTTPListen, TrustedPeers: []string{}, TLS: TLS{AllowedSANs: []string{}},
			MaxConnections: DefaultHTTPConnections, MaxHeaderBytes: DefaultHTTPHeaderBytes, MaxPendingMiB: DefaultHTTPPendingMiB,
		},
		Admin: Admin{Listen: DefaultAdminListen, TLS: TLS{AllowedSANs: []string{}}, MaxConnections: DefaultAdminConnections},
		Ops:   Ops{Listen: DefaultOpsListen, MaxConnections: DefaultOpsConnections},
		Database: Database{Driver: DefaultDriver, PasswordCommand: []string{}, PasswordInterval: DefaultPasswordInterval,
			ConnectTimeout: DefaultConnectTimeout, MaxOpen: DefaultMaxOpen, MaxIdle: DefaultMaxIdle},
		Cache: Cache{
			Namespace: DefaultNamespace,
			Redis:     Redis{Addresses: []string{}, Mode: DefaultRedisMode, PasswordCommand: []string{}, PasswordInterval: DefaultPasswordInterval, Budget: DefaultRedisBudget},
			TTL: TTL{
				Validation: DefaultTTLValidation, Scope: DefaultTTLScope, UserList: DefaultTTLUserList,
				UsageBatch: DefaultTTLUsageBatch, Stats: DefaultTTLStats, Negative: DefaultTTLNegative,
			},
			Local: Local{MaxKeys: DefaultMaxKeys, MaxMiB: DefaultMaxMiB, MaxNegative: DefaultMaxNegative, Lease: DefaultLease, MaxStale: DefaultMaxStale},
			Feed:  Feed{Poll: DefaultFeedPoll, Retention: DefaultFeedRetention},
			Warm:  Warm{Keys: DefaultWarmKeys, Interval: DefaultWarmInterval, Wait: DefaultWarmWait},
			Monitor: Monitor{
				Interval: DefaultMonitorInterval, Memory: DefaultMonitorMemory,
				HitRate: DefaultMonitorHitRate, Entries: DefaultMonitorEntries,
			},
		},
		Keys:      Keys{Brand: DefaultBrand, Environments: []string{"live", "test"}, PepperFiles: []string{}},
		Retention: Retention{Idempotency: DefaultRetentionIdempotency, Usage: DefaultRetentionUsage, Interval: DefaultRetentionInterval},
		Credentials: []Credential{
			{Header: "x-api-key"},
			{Header: "authorization", Scheme: "Bearer"},
		},
		Identity:          Identity{HeaderPrefix: DefaultIdentityPrefix, MetadataHeaders: []string{}},
		Headers:           Headers{KeepOverrides: []string{}},
		Routes:            []Route{},
		Mapping:           Mapping{StripPrefixes: []string{"/api", "/" + authz.VersionPlaceholder}},
		ContextExtensions: true,
		Paths:             Paths{Encoded: encodedRefuse, MaxPathBytes: authz.DefaultMaxPath, MaxQueryBytes: authz.DefaultMaxQuery},
		RouteMetadata:     RouteMetadata{Namespaces: []string{}},
		OpenAPI:           OpenAPI{Files: []string{}},
		Limits:            Limits{Mode: DefaultLimitsMode},
		Denials:           Denials{WWWAuthenticateRealm: DefaultRealm, ProblemTypeBase: DefaultProblemTypeBase, Overrides: map[string]Override{}},
		OnError:           DefaultOnError,
		ClientAddress:     ClientAddress{Header: DefaultClientAddressHeader},
		Usage:             Usage{FlushThreshold: DefaultFlushThreshold, FlushInterval: DefaultFlushInterval, SpoolMiB: DefaultSpoolMiB},
		Log:               Log{Level: DefaultLogLevel, Format: DefaultLogFormat},
	}
}

// defaultDatabase sets the data source of SQLite to the file in the data folder.
func (c *Config) defaultDatabase() {
	if c.Database.Driver == DefaultDriver && c.Database.DSN.IsZero() {
		c.Database.DSN = NewDSN(c.defaultDatabaseFile())
	}
}

func (c *Config) defaultDatabaseFile() string { return filepath.Join(c.DataDir, DefaultDatabaseName) }

// defaultRoute replaces an empty default_route, so that all other code reads the
// effective value. The mapping suits an API without rules. Beside rules, the mapping
// would decide requests that miss a rule by a slash, a method or a host, and could
// require less than the rule.
func (c *Config) defaultRoute() {
	if c.DefaultRoute != "" {
		return
	}
	c.defaulted, c.DefaultRoute = true, string(authz.DefaultRouteMap)
	if c.hasRules() {
		c.DefaultRoute = string(authz.DefaultRouteDeny)
	}
}

// hasRules reports whether the configuration has a rule of any kind. Annotations of the
// gateway's routes do not count: they come with the route that the gateway itself
// matched, so they have no neighbouring paths.
func (c *Config) hasRules() bool {
	return len(c.Routes)+len(c.OpenAPI.Files)+len(c.RouteMetadata.Routes) > 0
}
