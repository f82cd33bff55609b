package config

import (
	"time"

	"extauthz/authz"
)

// Config is everything that can be set. Comments on the fields are the
// descriptions in the JSON schema; the tags enum, min, max and format are
// checked by Load and are part of the schema too.
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
	// How long rows are kept that have no more use.
	Retention Retention `koanf:"retention"`
	// Where a request's key may stand. A value that does not begin as keys do is another party's: it is passed on, and counts for nothing beside a key. Two keys, the same one twice included, are refused.
	Credentials []Credential `koanf:"credentials"`
	// What the upstream is told about the key.
	Identity Identity `koanf:"identity"`
	// What clients may send on to the upstream.
	Headers Headers `koanf:"headers"`
	// What requests ask for. The most specific rule wins; conflicts are refused.
	Routes []Route `koanf:"routes"`
	// What a request asks for where no rule and no context extension says so: map (first path segment and method), authenticated (any valid key) or deny. Empty: deny as soon as there is a rule of any kind (routes, openapi.files, route_metadata.routes), else map.
	DefaultRoute string `koanf:"default_route" enum:"map,authenticated,deny"`
	// The mapping that default_route map uses.
	Mapping Mapping `koanf:"default_map"`
	// Whether Envoy's context extensions resource and action count where no rule matches. Set to false where tenants write them.
	ContextExtensions bool `koanf:"context_extensions"`
	// A trial of everything: refusals for a missing key, scope, network, route and project are only reported.
	Shadow Shadow `koanf:"shadow"`
	// Resource and action from the gateway's route metadata.
	RouteMetadata RouteMetadata `koanf:"route_metadata"`
	// Rules from OpenAPI documents.
	OpenAPI OpenAPI `koanf:"openapi"`
	// What is done with request paths.
	Paths Paths `koanf:"paths"`
	// Who holds the rates of keys.
	Limits Limits `koanf:"limits"`
	// What is done with CORS preflights.
	CORS CORS `koanf:"cors"`
	// What a refused client sees.
	Denials Denials `koanf:"denials"`
	// The answer where no decision can be made: unavailable (a gRPC error, so that Envoy's failure_mode_allow decides), deny (503) or error_response (Envoy 1.37 and later).
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

	defaulted bool                // default_route was empty, and Load chose one
	path      string              // of the file it was read from, there or not
	origins   origins             // where each setting was written, for messages
	warnings  []string            // seen while loading
	described []authz.RouteConfig // rules of the OpenAPI documents
	table     *authz.RouteTable   // all rules compiled, once they are valid
}

// Listener is where a section's listener is, and how it proves itself.
type Listener struct {
	Section, Address string
	TLS              TLS
}

// Listeners returns all of them.
func (c *Config) Listeners() []Listener {
	return []Listener{{"grpc", c.GRPC.Listen, c.GRPC.TLS}, {"http", c.HTTP.Listen, c.HTTP.TLS}, {"admin", c.Admin.Listen, c.Admin.TLS}, {"ops", c.Ops.Listen, c.Ops.TLS}}
}

// GRPC is the listener that Envoy speaks to.
type GRPC struct {
	// Address to listen on, host:port or unix:PATH.
	Listen string `koanf:"listen" format:"listen"`
	// TLS of this listener; without a certificate it speaks plain text.
	TLS TLS `koanf:"tls"`
	// Age after which a connection is asked to end, so that Envoy spreads over replicas.
	MaxConnectionAge time.Duration `koanf:"max_connection_age" min:"1s"`
	// Time that running checks get after that.
	MaxConnectionAgeGrace time.Duration `koanf:"max_connection_age_grace" min:"1s"`
	// Time between saying that it is about to end (health: NOT_SERVING) and ending connections, in which checks are still answered; longer than the gateway's interval of health checks.
	DrainDelay time.Duration `koanf:"drain_delay" min:"0s" max:"5m"`
	// Whether gRPC server reflection is served.
	Reflection bool `koanf:"reflection"`
	// How checks are read and answered: wire reads of their bytes what decisions need, protobuf decodes all of them. Both decide alike; protobuf costs more than twice the CPU.
	Codec string `koanf:"codec" enum:"wire,protobuf"`
	// Connections at once. Each worker thread of an Envoy has one, or two with health checks. A new one takes the place of the least useful one.
	MaxConnections int `koanf:"max_connections" min:"1" max:"100000"`
	// Checks at once on a connection. Envoy opens a further connection for more.
	MaxStreams int `koanf:"max_streams" min:"1" max:"100000"`
	// Largest request, in bytes: what the gateway sends of a client's headers, and of its body with with_request_body. A larger one is a gRPC error, which a failure_mode_allow of the gateway lets in: this has to be more than the gateway itself takes.
	MaxMessageBytes int `koanf:"max_message_bytes" min:"16384" max:"67108864"`
	// Largest metadata of a request, in bytes when uncompressed: what the gateway itself adds to a check, such as headers of traces.
	MaxHeaderBytes int `koanf:"max_header_bytes" min:"4096" max:"1048576"`
	// Longest time until a connection is set up, and until a check's message is complete and answered.
	RequestTimeout time.Duration `koanf:"request_timeout" min:"1s" max:"1m"`
	// Memory for checks that are under way, in MiB, over all connections: 16 KiB for each and the bytes of those whose message is not complete. From half of it each connection has its share; connections that never complete what they send are closed first.
	MaxPendingMiB int `koanf:"max_pending_mib" min:"4" max:"65536"`
}

// The codecs of gRPC.
const (
	CodecWire     = "wire"
	CodecProtobuf = "protobuf"
)

// HTTP is the listener for the HTTP flavour and forward-auth.
type HTTP struct {
	// Address to listen on, host:port or unix:PATH.
	Listen string `koanf:"listen" format:"listen"`
	// Networks of the proxies that are answered, since their headers are believed; empty: this machine alone. On a Unix socket everybody who can open it.
	TrustedPeers []string `koanf:"trusted_peers" format:"cidr"`
	// TLS of this listener; without a certificate it speaks plain text.
	TLS TLS `koanf:"tls"`
	// Connections at once. A new one takes the place of the least useful one.
	MaxConnections int `koanf:"max_connections" min:"1" max:"100000"`
	// Largest request line with its headers, in bytes. Gateways send on what clients sent: more than they themselves accept is not needed.
	MaxHeaderBytes int `koanf:"max_header_bytes" min:"4096" max:"1048576"`
	// Memory for requests whose headers are not complete, in MiB, over all connections.
	MaxPendingMiB int `koanf:"max_pending_mib" min:"4" max:"65536"`
}

// Admin is the listener of the management API.
type Admin struct {
	// Address to listen on, host:port or unix:PATH.
	Listen string `koanf:"listen" format:"listen"`
	// File with the key that becomes the first administrator's where there is none yet.
	BootstrapKeyFile string `koanf:"bootstrap_key_file"`
	// TLS of this listener; without a certificate it speaks plain text.
	TLS TLS `koanf:"tls"`
	// Connections at once. A new one takes the place of the least useful one.
	MaxConnections int `koanf:"max_connections" min:"1" max:"100000"`
}

// Ops is the listener for metrics and health.
type Ops struct {
	// Address to listen on, host:port or unix:PATH.
	Listen string `koanf:"listen" format:"listen"`
	// TLS of this listener; without a certificate it speaks plain text. Kubernetes' probes show no client certificate.
	TLS TLS `koanf:"tls"`
	// Whether Go's profiles are served under /debug/pprof.
	Pprof bool `koanf:"pprof"`
	// Connections at once. A new one takes the place of the least useful one.
	MaxConnections int `koanf:"max_connections" min:"1" max:"100000"`
}

// TLS is how a listener proves itself and whom it lets in. The files are read
// again when they change.
type TLS struct {
	// PEM file with the certificate chain.
	CertFile string `koanf:"cert_file"`
	// PEM file with the private key.
	KeyFile string `koanf:"key_file"`
	// PEM file with the authorities whose client certificates are asked for and accepted; empty: none are asked for.
	ClientCAFile string `koanf:"client_ca_file"`
	// Client certificates must carry one of these DNS or URI names; empty: any that client_ca_file accepts.
	AllowedSANs []string `koanf:"allowed_sans"`
}

// Enabled tells whether the listener speaks TLS.
func (t TLS) Enabled() bool { return t.CertFile != "" }

// Database is where keys are stored.
type Database struct {
	// Kind of database.
	Driver string `koanf:"driver" enum:"sqlite,postgres"`
	// Data source: a file for sqlite (empty: extauthz.db in data_dir), a postgres:// URL or keyword=value text for postgres.
	DSN DSN `koanf:"dsn"`
	// File that holds the data source instead.
	DSNFile string `koanf:"dsn_file"`
	// File that holds the password, instead of the data source. It is read for each new connection, as dsn_file and the files that a data source names are.
	PasswordFile string `koanf:"password_file"`
	// Program, with its arguments, that writes the password to its standard output, such as a cloud's short-lived token. It is run without a shell, for 10s at most.
	PasswordCommand []string `koanf:"password_command"`
	// How long one output of password_command is used for new connections: less than the password lives.
	PasswordInterval time.Duration `koanf:"password_interval" min:"1s" max:"24h"`
	// How long one host is waited for when a connection is made, unless the data source has connect_timeout. The next host of the data source is tried beside it after 500ms.
	ConnectTimeout time.Duration `koanf:"connect_timeout" min:"100ms" max:"1m"`
	// Data source that goes round a connection pooler, for LISTEN; empty: changes are polled for.
	ListenDSN DSN `koanf:"listen_dsn"`
	// File that holds that data source instead.
	ListenDSNFile string `koanf:"listen_dsn_file"`
	// Most connections open at once; two at least with postgres, for a migration.
	MaxOpen int `koanf:"max_open" min:"1" max:"1000"`
	// Most idle connections kept, for five minutes; never more than max_open.
	MaxIdle int `koanf:"max_idle" min:"0" max:"1000"`
	// Longest time that a start waits for the database to answer and to be migrated, after which the process ends; 0: without end. Health is served meanwhile.
	StartTimeout time.Duration `koanf:"start_timeout" min:"0s"`
}

// Keys is the form of keys and how their digests are made.
type Keys struct {
	// First part of every key.
	Brand string `koanf:"brand"`
	// Second part of every key: the environments that exist.
	Environments []string `koanf:"environments"`
	// Files with peppers of 32 bytes or more; the first makes new digests, all prove old ones. None: plain SHA-256.
	PepperFiles []string `koanf:"pepper_files"`
	// Whether keys whose digest was made without one of the peppers are refused, so that somebody who can write to the database can't put a digest of his own there. Rotate keys from before the peppers first: extauthz_keys_unpeppered counts them.
	RequirePepper bool `koanf:"require_pepper"`
}

// Credential is one place where a key may stand: exactly one of header, query
// and cookie is set.
type Credential struct {
	// Header that holds the key, in lower case.
	Header string `koanf:"header"`
	// Scheme before the key in that header, such as Bearer or ApiKey. With Basic the key is the user or the password. A header may stand here once for each of its schemes.
	Scheme string `koanf:"scheme"`
	// Query parameter that holds the key.
	Query string `koanf:"query"`
	// Cookie that holds the key.
	Cookie string `koanf:"cookie"`
}

// Headers is what clients may send on to the upstream.
type Headers struct {
	// Override headers that clients may send on, such as x-forwarded-prefix: by them upstreams let a client replace the method, path or host that was judged. All others are removed, or refused where they can't be.
	KeepOverrides []string `koanf:"keep_overrides"`
}

// Identity is what the upstream is told about the key.
type Identity struct {
	// Prefix of the identity headers. Whatever a client sends under it is removed.
	HeaderPrefix string `koanf:"header_prefix"`
	// Names of key metadata that are sent on as PREFIXmeta-NAME.
	MetadataHeaders []string `koanf:"metadata_headers"`
	// Whether keys are passed on to the upstream. Without it every whole key is removed, in whichever header, cookie or parameter it is; where that can't be, as in a path, the request is refused.
	ForwardCredential bool `koanf:"forward_credential"`
}
