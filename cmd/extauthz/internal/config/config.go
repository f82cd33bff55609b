package config

import (
	"time"

	"extauthz/authz"
)

// Config holds every setting. The comments on its fields are the descriptions in the JSON
// schema. Load checks the tags enum, min, max and format, which are part of the schema
// too.
type Config struct {
	// Folder for what the service keeps itself: the SQLite database and the first administrator's key.
	DataDir string `koanf:"data_dir"`
	// Listener for Envoy's external authorization over gRPC.
	GRPC GRPC `koanf:"grpc"`
	// Listener for the HTTP flavour of external authorization and for forward-auth.
	HTTP HTTP `koanf:"http"`
	// Listener for the management API.
	Admin Admin `koanf:"admin"`
	// Listener for metrics and health.
	Ops Ops `koanf:"ops"`
	// Where keys are stored.
	Database Database `koanf:"database"`
	// The cached validator and its Redis.
	Cache Cache `koanf:"cache"`
	// Form and digest of keys.
	Keys Keys `koanf:"keys"`
	// How long unused rows are kept.
	Retention Retention `koanf:"retention"`
	// Places where a request may carry its key. A value that does not begin like a key belongs to another system: it is passed on and ignored. Two keys, the same one twice included, are refused.
	Credentials []Credential `koanf:"credentials"`
	// Identity headers that the upstream receives.
	Identity Identity `koanf:"identity"`
	// What clients may send on to the upstream.
	Headers Headers `koanf:"headers"`
	// What requests need. The most specific rule wins; conflicts are refused.
	Routes []Route `koanf:"routes"`
	// What a request needs where neither a rule nor a context extension applies: map (first path segment and method), authenticated (any valid key) or deny. Empty: deny as soon as there is a rule of any kind (routes, openapi.files, route_metadata.routes), else map.
	DefaultRoute string `koanf:"default_route" enum:"map,authenticated,deny"`
	// The mapping that default_route map uses.
	Mapping Mapping `koanf:"default_map"`
	// Whether Envoy's context extensions resource and action count where no rule matches. Set to false where tenants write them.
	ContextExtensions bool `koanf:"context_extensions"`
	// Shadow mode for all requests: denials for a missing key, scope, network, route and project are only reported.
	Shadow Shadow `koanf:"shadow"`
	// Resource and action from the gateway's route metadata.
	RouteMetadata RouteMetadata `koanf:"route_metadata"`
	// Rules from OpenAPI documents.
	OpenAPI OpenAPI `koanf:"openapi"`
	// Handling of request paths.
	Paths Paths `koanf:"paths"`
	// Where the rate limits of keys are enforced.
	Limits Limits `koanf:"limits"`
	// Handling of CORS preflight requests.
	CORS CORS `koanf:"cors"`
	// Answers to denied clients.
	Denials Denials `koanf:"denials"`
	// The answer when no decision can be made: unavailable (a gRPC error, so that Envoy's failure_mode_allow decides), deny (503) or error_response (Envoy 1.37 and later).
	OnError string `koanf:"on_error" enum:"unavailable,deny,error_response"`
	// How a client's network address is found.
	ClientAddress ClientAddress `koanf:"client_address"`
	// Counting of key usage.
	Usage Usage `koanf:"usage"`
	// Whether clients get x-cache-status: HIT or MISS.
	DebugHeaders bool `koanf:"debug_headers"`
	// Logs, written to standard error.
	Log Log `koanf:"log"`
	// Traces.
	Telemetry Telemetry `koanf:"telemetry"`

	defaulted bool                // whether default_route was empty, so that Load chose it
	path      string              // path of the configuration file, whether it exists or not
	origins   origins             // where each setting was written, for messages
	warnings  []string            // that Load itself found
	described []authz.RouteConfig // rules of the OpenAPI documents
	table     *authz.RouteTable   // all rules compiled, once they are valid
}

// Listener is a section's listener: its address and its TLS.
type Listener struct {
	Section, Address string
	TLS              TLS
}

// Listeners returns all listeners.
func (c *Config) Listeners() []Listener {
	return []Listener{{"grpc", c.GRPC.Listen, c.GRPC.TLS}, {"http", c.HTTP.Listen, c.HTTP.TLS}, {"admin", c.Admin.Listen, c.Admin.TLS}, {"ops", c.Ops.Listen, c.Ops.TLS}}
}

// GRPC configures the listener that Envoy calls.
type GRPC struct {
	// Address to listen on, host:port or unix:PATH.
	Listen string `koanf:"listen" format:"listen"`
	// TLS of this listener; without a certificate it speaks plain text.
	TLS TLS `koanf:"tls"`
	// Age after which the service asks a connection to end, so that Envoy spreads its connections over the replicas.
	MaxConnectionAge time.Duration `koanf:"max_connection_age" min:"1s"`
	// Time that running checks have to finish after max_connection_age.
	MaxConnectionAgeGrace time.Duration `koanf:"max_connection_age_grace" min:"1s"`
	// Time at shutdown between reporting NOT_SERVING to health checks and closing connections. Checks are still answered in it. Longer than the gateway's health check interval.
	DrainDelay time.Duration `koanf:"drain_delay" min:"0s" max:"5m"`
	// Whether gRPC server reflection is served.
	Reflection bool `koanf:"reflection"`
	// How checks are decoded and answered: wire reads only the fields that decisions need, protobuf decodes whole messages. Decisions are the same; protobuf costs more than twice the CPU.
	Codec string `koanf:"codec" enum:"wire,protobuf"`
	// Most open connections. Each worker thread of an Envoy has one, or two with health checks. Beyond the limit, a new connection replaces the least useful one.
	MaxConnections int `koanf:"max_connections" min:"1" max:"100000"`
	// Most concurrent checks on one connection. Envoy opens another connection for more.
	MaxStreams int `koanf:"max_streams" min:"1" max:"100000"`
	// Largest request, in bytes: what the gateway sends of a client's headers, and of its body with with_request_body. A larger one is answered with a gRPC error, which a gateway with failure_mode_allow lets through: set this above the gateway's own limit.
	MaxMessageBytes int `koanf:"max_message_bytes" min:"16384" max:"67108864"`
	// Largest metadata of a gRPC request, in bytes when uncompressed: what the gateway itself adds to a check, such as trace headers.
	MaxHeaderBytes int `koanf:"max_header_bytes" min:"4096" max:"1048576"`
	// Longest time until a connection is set up, and until a check's message is complete and answered.
	RequestTimeout time.Duration `koanf:"request_timeout" min:"1s" max:"1m"`
	// Memory for checks in progress, in MiB, over all connections: 16 KiB for each check, and the bytes of incomplete messages. Above half of it, each connection is limited to its share; connections with messages that stay incomplete are closed first.
	MaxPendingMiB int `koanf:"max_pending_mib" min:"4" max:"65536"`
}

// The codecs of gRPC.
const (
	CodecWire     = "wire"
	CodecProtobuf = "protobuf"
)

// HTTP configures the listener for the HTTP flavour and forward-auth.
type HTTP struct {
	// Address to listen on, host:port or unix:PATH.
	Listen string `koanf:"listen" format:"listen"`
	// Networks of the proxies whose requests are answered and whose headers are trusted; empty: this machine only. On a Unix socket, every process that can open it is trusted.
	TrustedPeers []string `koanf:"trusted_peers" format:"cidr"`
	// TLS of this listener; without a certificate it speaks plain text.
	TLS TLS `koanf:"tls"`
	// Most open connections. Beyond the limit, a new connection replaces the least useful one.
	MaxConnections int `koanf:"max_connections" min:"1" max:"100000"`
	// Largest request line with its headers, in bytes. Gateways forward what clients sent: more than the gateway itself accepts is not needed.
	MaxHeaderBytes int `koanf:"max_header_bytes" min:"4096" max:"1048576"`
	// Memory for requests whose headers are not complete, in MiB, over all connections.
	MaxPendingMiB int `koanf:"max_pending_mib" min:"4" max:"65536"`
}

// Admin configures the listener of the management API.
type Admin struct {
	// Address to listen on, host:port or unix:PATH.
	Listen string `koanf:"listen" format:"listen"`
	// File with the key of the first administrator, which is created if there is no administrator yet.
	BootstrapKeyFile string `koanf:"bootstrap_key_file"`
	// TLS of this listener; without a certificate it speaks plain text.
	TLS TLS `koanf:"tls"`
	// Most open connections. Beyond the limit, a new connection replaces the least useful one.
	MaxConnections int `koanf:"max_connections" min:"1" max:"100000"`
}

// Ops configures the listener for metrics and health.
type Ops struct {
	// Address to listen on, host:port or unix:PATH.
	Listen string `koanf:"listen" format:"listen"`
	// TLS of this listener; without a certificate it speaks plain text. Kubernetes probes send no client certificate.
	TLS TLS `koanf:"tls"`
	// Whether Go's profiles are served under /debug/pprof.
	Pprof bool `koanf:"pprof"`
	// Most open connections. Beyond the limit, a new connection replaces the least useful one.
	MaxConnections int `koanf:"max_connections" min:"1" max:"100000"`
}

// TLS configures the certificate of a listener, and the clients that it accepts. Files
// that change are read again.
type TLS struct {
	// PEM file with the certificate chain.
	CertFile string `koanf:"cert_file"`
	// PEM file with the private key.
	KeyFile string `koanf:"key_file"`
	// PEM file with the certificate authorities of client certificates. Clients then need one; empty: none is requested.
	ClientCAFile string `koanf:"client_ca_file"`
	// Client certificates must carry one of these DNS or URI names; empty: any that client_ca_file accepts.
	AllowedSANs []string `koanf:"allowed_sans"`
}

// Enabled reports whether the listener speaks TLS.
func (t TLS) Enabled() bool { return t.CertFile != "" }

// Database configures where keys are stored.
type Database struct {
	// Kind of database.
	Driver string `koanf:"driver" enum:"sqlite,postgres"`
	// Data source: a file for sqlite (empty: extauthz.db in data_dir), a postgres:// URL or keyword=value text for postgres.
	DSN DSN `koanf:"dsn"`
	// File that holds the data source instead.
	DSNFile string `koanf:"dsn_file"`
	// File that holds the password, instead of the data source. It is read for each new connection, like dsn_file and the files that a data source names.
	PasswordFile string `koanf:"password_file"`
	// Program, with its arguments, that writes the password to its standard output, such as a cloud's short-lived token. It is run without a shell, for 10s at most.
	PasswordCommand []string `koanf:"password_command"`
	// How long one output of password_command is used for new connections. Shorter than the password's lifetime.
	PasswordInterval time.Duration `koanf:"password_interval" min:"1s" max:"24h"`
	// Time to connect to one host, unless the data source has connect_timeout. After 500ms the next host of the data source is tried in parallel.
	ConnectTimeout time.Duration `koanf:"connect_timeout" min:"100ms" max:"1m"`
	// Data source that bypasses a connection pooler, for LISTEN; empty: the service polls for changes.
	ListenDSN DSN `koanf:"listen_dsn"`
	// File that holds that data source instead.
	ListenDSNFile string `koanf:"listen_dsn_file"`
	// Most connections open at once; two at least with postgres, for a migration.
	MaxOpen int `koanf:"max_open" min:"1" max:"1000"`
	// Most idle connections kept, for five minutes; never more than max_open.
	MaxIdle int `koanf:"max_idle" min:"0" max:"1000"`
	// Longest time to wait at the start for the database and its migrations, after which the process exits; 0: no limit. Health endpoints are served meanwhile.
	StartTimeout time.Duration `koanf:"start_timeout" min:"0s"`
}

// Keys configures the form of keys and how their digests are made.
type Keys struct {
	// First part of every key.
	Brand string `koanf:"brand"`
	// Second part of every key: the environments that exist.
	Environments []string `koanf:"environments"`
	// Files with peppers of 32 bytes or more. New digests use the first; existing ones are verified with any of them. None: plain SHA-256.
	PepperFiles []string `koanf:"pepper_files"`
	// Whether keys whose digest uses none of the peppers are refused. It prevents a writer of the database from inserting a digest for a key of their own. Rotate older keys first: extauthz_keys_unpeppered counts them.
	RequirePepper bool `koanf:"require_pepper"`
}

// Credential is one place where a request may carry its key. Exactly one of header, query
// and cookie is set.
type Credential struct {
	// Header that holds the key, in lower case.
	Header string `koanf:"header"`
	// Scheme before the key in that header, such as Bearer or ApiKey. With Basic the key is the user or the password. A header may be listed once for each of its schemes.
	Scheme string `koanf:"scheme"`
	// Query parameter that holds the key.
	Query string `koanf:"query"`
	// Cookie that holds the key.
	Cookie string `koanf:"cookie"`
}

// Headers configures what clients may send on to the upstream.
type Headers struct {
	// Override headers that clients may send on, such as x-forwarded-prefix: with them upstreams let a client replace the method, path or host that was authorized. All others are removed, or the request is refused where they can't be.
	KeepOverrides []string `koanf:"keep_overrides"`
}

// Identity configures the identity headers that the upstream receives.
type Identity struct {
	// Prefix of the identity headers. Whatever a client sends under it is removed.
	HeaderPrefix string `koanf:"header_prefix"`
	// Names of key metadata that are sent on as PREFIXmeta-NAME.
	MetadataHeaders []string `koanf:"metadata_headers"`
	// Whether keys are passed on to the upstream. Otherwise every whole key is removed from headers, cookies and parameters; where it can't be removed, as in a path, the request is refused.
	ForwardCredential bool `koanf:"forward_credential"`
}
