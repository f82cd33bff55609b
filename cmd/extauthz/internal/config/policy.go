package config

import "time"

// Route is one rule: the requests that it matches, and what they require.
type Route struct {
	// Requests that the rule matches, [METHOD ][HOST]/PATH as in Go's http.ServeMux, with {name} for a segment, {name...} for the rest, and {name}:end or {name}.end for a last segment with that ending.
	Match string `koanf:"match"`
	// Resource that the key's scopes must cover; {name} is replaced with the path's segment; characters that scopes can't have are percent-encoded.
	Resource string `koanf:"resource"`
	// Action on it; empty: by method (GET and HEAD read, POST create, PUT and PATCH update, DELETE delete).
	Action string `koanf:"action"`
	// Whether the request needs no key.
	Anonymous bool `koanf:"anonymous"`
	// Project that the key must belong to; empty: any, and none.
	Project string `koanf:"project"`
	// enforce, or shadow: denials for scope, network, route and project are only recorded. Empty: enforce.
	Mode string `koanf:"mode" enum:"enforce,shadow"`
	// Whether percent-encoded characters and parameters (";") in what the wildcards match are data, as they are to the upstream (allow), or refused. Empty: refuse. The resource can then hold no wildcard.
	Encoded string `koanf:"encoded" enum:"refuse,allow"`
	// End of a shadow rule: a date (its first instant, UTC) or an RFC 3339 time.
	Until Date `koanf:"until"`
}

// Mapping configures how default_route map derives a resource.
type Mapping struct {
	// Leading path segments to strip, as they are no resource; {version} stands for an API version, such as v1 or v2beta1. Nothing is stripped from gRPC calls.
	StripPrefixes []string `koanf:"strip_prefixes"`
}

// RouteMetadata configures what is read from the gateway's own route metadata.
type RouteMetadata struct {
	// Whether resource and action are read from route metadata.
	Enabled bool `koanf:"enabled"`
	// Whether route metadata may make a route anonymous; needs namespaces.
	AllowAnonymous bool `koanf:"allow_anonymous"`
	// Kubernetes namespaces whose routes count; empty: all.
	Namespaces []string `koanf:"namespaces"`
	// What the gateway's routes need, by their names, where they have no annotations or their annotations are not trusted.
	Routes []NamedRoute `koanf:"routes"`
}

// NamedRoute sets what a route of the gateway requires.
type NamedRoute struct {
	// Kubernetes resource that the route is, KIND/NAMESPACE/NAME, such as HTTPRoute/shop/orders.
	Route string `koanf:"route"`
	// Resource that the key's scopes must cover.
	Resource string `koanf:"resource"`
	// Action on it; empty: by method.
	Action string `koanf:"action"`
	// Whether the route needs no key.
	Anonymous bool `koanf:"anonymous"`
}

// Shadow configures shadow mode for all requests.
type Shadow struct {
	// End of shadow mode: a date (its first instant, UTC) or an RFC 3339 time; empty: no shadow mode.
	Until Date `koanf:"until"`
}

// OpenAPI configures rules from API descriptions.
type OpenAPI struct {
	// OpenAPI 3 documents whose security requirements become rules.
	Files []string `koanf:"files"`
	// Whether an explicit "security: []" makes an operation anonymous.
	AllowAnonymous bool `koanf:"allow_anonymous"`
}

// CORS configures the answer to CORS preflights, which browsers send without a key.
type CORS struct {
	// Whether preflights pass without a key. Only needed where the gateway sends them to authorization, as Istio does: Envoy Gateway and Envoy's own cors filter answer them first.
	AllowPreflights bool `koanf:"allow_preflights"`
}

// Paths configures the handling of request paths.
type Paths struct {
	// Whether a path that is not in its plain form is repaired instead of refused; only for gateways that can't normalise. Parts that need no repair are unchanged.
	Repair bool `koanf:"repair"`
	// Whether percent-encoded characters and parameters (";") are data in paths that no rule matches (allow), or refused; not with default_route map, which takes the resource from the path.
	Encoded string `koanf:"encoded" enum:"refuse,allow"`
	// Longest path that is accepted, in bytes, without the query. Envoy's own limit is max_request_headers_kb, 60 KiB by default for all headers.
	MaxPathBytes int `koanf:"max_path_bytes" min:"1" max:"1048576"`
	// Longest query that is accepted, in bytes.
	MaxQueryBytes int `koanf:"max_query_bytes" min:"1" max:"1048576"`
}

// The modes of Limits.
const (
	LimitsService = "service"
	LimitsEnvoy   = "envoy"
)

// Limits configures where the rates of keys are enforced.
type Limits struct {
	// service (each replica holds its share), envoy (by dynamic metadata only) or off.
	Mode string `koanf:"mode" enum:"service,envoy,off"`
}

// Denials configures the answers to refused clients.
type Denials struct {
	// Realm in WWW-Authenticate.
	WWWAuthenticateRealm string `koanf:"www_authenticate_realm"`
	// Base of a problem document's type, to which the code is appended; about:blank is used unchanged.
	ProblemTypeBase string `koanf:"problem_type_base" format:"url"`
	// Whether problem documents carry the request's id as instance.
	RequestID bool `koanf:"request_id"`
	// Overrides of single denials, by reason code.
	Overrides map[string]Override `koanf:"overrides"`
}

// Override changes the answer to one denial. Empty fields leave it as it is.
type Override struct {
	// HTTP status.
	Status int `koanf:"status" min:"400" max:"599"`
	// Title of the problem document.
	Title string `koanf:"title"`
	// Detail of the problem document.
	Detail string `koanf:"detail"`
	// Headers added to the answer.
	Headers map[string]string `koanf:"headers"`
}

// ClientAddress configures how a client's network address is found.
type ClientAddress struct {
	// Number of proxies that add to the header before this service's gateway reads it; 0: the TCP peer counts and the header is ignored.
	TrustedHops int `koanf:"trusted_hops" min:"0" max:"16"`
	// Header that the proxies add to, in lower case.
	Header string `koanf:"header"`
}

// Usage configures how the usage of keys is counted.
type Usage struct {
	// Uses of one key after which its counter is flushed early.
	FlushThreshold int `koanf:"flush_threshold" min:"1" max:"1000000"`
	// Time between flushes of usage to the database. A killed process loses at most the uses of this time and of three more seconds.
	FlushInterval time.Duration `koanf:"flush_interval" min:"1s"`
	// Most usage, in MiB, kept in the folder usage of data_dir while neither the database nor Redis is available; 0: none, and a killed process loses it.
	SpoolMiB int `koanf:"spool_mib" min:"0" max:"65536"`
}

// Log configures logging.
type Log struct {
	// Least level that is logged.
	Level string `koanf:"level" enum:"debug,info,warn,error"`
	// Form of log lines.
	Format string `koanf:"format" enum:"json,text"`
	// Share of allowed requests that is logged, 0 (none) to 1 (all). Denials are logged too, at most 20 a second on each replica; the next line counts the others as denials_not_logged.
	SampleAllowed float64 `koanf:"sample_allowed" min:"0" max:"1"`
}

// Telemetry configures where traces are sent.
type Telemetry struct {
	// Collector that traces are sent to by OTLP over gRPC, such as http://otel-collector:4317, or https:// for TLS; empty: no traces.
	OTLPEndpoint string `koanf:"otlp_endpoint" format:"otlp"`
}
