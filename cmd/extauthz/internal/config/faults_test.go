package config

import (
	"slices"
	"strings"
	"testing"
)

func TestLoad_TenFaultsAreTenLines(t *testing.T) {
	got := problems(t, `grpc: {listen: "localhost"}
cache:
  redis: {adresses: [a:1]}
  ttl: {validation: 5}
  feed: {retention: 1m}
database: {driver: mysql}
credentials:
  - {header: X-Api-Key}
routes:
  - {match: "/a", resource: a}
  - {match: "/a/{x}", resource: "b/{y}"}
log: {level: loud}
log: {format: text}
client_address: {trusted_hops: 17}
`, "EXTAUTHZ_DEBUG_HEADERS=perhaps")
	want := []string{
		`x.yaml:1: grpc.listen: "localhost": write host:port, such as 127.0.0.1:9001`,
		`x.yaml:3: unknown setting cache.redis.adresses: did you mean cache.redis.addresses?`,
		`x.yaml:4: cache.ttl.validation: "5" is not a duration: write a number with a unit, such as 250ms, 10s, 5m, 1h, 30d or 2w`,
		`x.yaml:5: cache.feed.retention: 1m0s is shorter than cached values can live, 31m0s: raise it, or lower cache.ttl and cache.local.max_stale`,
		`x.yaml:6: database.driver: "mysql" is none of sqlite, postgres`,
		`x.yaml:8: credentials[0].header: "X-Api-Key" is not a header name: write it in lower case, without ":", such as x-api-key`,
		`x.yaml:11: routes[1]: route "/a/{x}": resource "b/{y}" names {y}, which is no single-segment wildcard of the match: it has ["x"]`,
		`x.yaml:12: log.level: "loud" is none of debug, info, warn, error`,
		`x.yaml:13: log is set twice (first in line 12): remove one`,
		`x.yaml:14: client_address.trusted_hops: 17 is too large: the maximum is 16`,
		`EXTAUTHZ_DEBUG_HEADERS: debug_headers: "perhaps" is neither true nor false`,
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// Each configuration has one fault. The error is one line that contains want.
func TestLoad_FaultIsOneLineWithARemedy(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"databse: {dsn: x}", "x.yaml:1: unknown setting databse: did you mean database?"},
		{`"a\nb": x`, "x.yaml:1: unknown setting a b: "},
		{"dsn: x", "x.yaml:1: unknown setting dsn: did you mean database.dsn?"},
		{"grpc: {tls: {certfile: x}}", "unknown setting grpc.tls.certfile: did you mean grpc.tls.cert_file?"},
		{"ops: {zzzzzzzz: x}", "unknown setting ops.zzzzzzzz: known here: listen, tls, pprof"},
		{"routes: [{match: /a, scope: a}]", "unknown setting routes[0].scope: known here: match, "},
		{"routes: [{match: /a, resorce: a}]", "unknown setting routes[0].resorce: did you mean routes[0].resource?"},
		{"log: info", "x.yaml:1: log: a mapping (name: value) is expected, this is a single value"},
		{"- a", "x.yaml:1: the file: a mapping (name: value) is expected, this is a list"},
		{"log: {level: [info]}", "log.level: one value is expected, this is a list"},
		{"keys: {environments: live}", "keys.environments: a list is expected, such as [one, two]; this is a single value"},
		{"keys: {environments: [live, ~]}", "keys.environments[1] is empty: remove it"},
		{"log:\n\tlevel: info", "x.yaml:2: not valid YAML: found character that cannot start any token"},
		{"a: 1\n---\nb: 2", "a second YAML document"},
		{"usage: {flush_threshold: 1.5}", `usage.flush_threshold: "1.5" is not a whole number`},
		{"usage: {flush_threshold: 0}", "usage.flush_threshold: 0 is too small: the minimum is 1"},
		{"log: {sample_allowed: .nan}", `".nan" is not a number`},
		{"keys: {brand: true}", `keys.brand: a text is expected: write "true" in quotes if it is meant`},
		{"keys: {brand: AK}", `keys: key brand "AK"`},
		{"cache: {ttl: {scope: 0s}}", "cache.ttl.scope: 0s is too small: the minimum is 1ms"},
		{"cache: {local: {lease: 10m}}", "cache.local.lease: 10m0s is longer than cache.local.max_stale"},
		{"cache: {feed: {poll: 1s}}", "cache.feed.poll: 1s is not shorter than cache.local.lease"},
		{"cache: {namespace: 'a {b}'}", "cache.namespace"},
		{"cache: {redis: {addresses: [a:1, b:1]}}", "cache.redis.addresses: has 2 entries, mode single takes one"},
		{"cache: {redis: {addresses: [a:1], mode: sentinel}}", "cache.redis.sentinel_master: is missing"},
		{"cache: {redis: {addresses: [a:1], mode: cluster, db: 1}}", "cache.redis.db: 1: a cluster has database 0 only"},
		{"cache: {redis: {addresses: [':1']}}", `cache.redis.addresses[0]: ":1" has no host`},
		{"grpc: {listen: 'a:70000'}", "the port is a number from 0 to 65535"},
		{"grpc: {listen: ''}", "grpc.listen"},
		{"grpc: {listen: 'unix:'}", "grpc.listen"},
		{"admin: {listen: '127.0.0.1:9001'}", "admin.listen: 127.0.0.1:9001 is the address of grpc.listen too"},
		{"http: {trusted_peers: [10.0.0.1/8]}", "http.trusted_peers[0]: network"},
		{"grpc: {tls: {cert_file: a}}", "grpc.tls.key_file: is missing"},
		{"grpc: {tls: {key_file: a}}", "grpc.tls.cert_file: is missing"},
		{"grpc: {tls: {client_ca_file: a}}", "grpc.tls.client_ca_file: needs grpc.tls.cert_file"},
		{"grpc: {tls: {cert_file: /none/a, key_file: /none/b}}", "grpc.tls.cert_file: /none/a can't be read: no such file or directory"},
		{"http: {tls: {cert_file: a}}", "http.tls.key_file: is missing"},
		{"http: {tls: {allowed_sans: [a]}}", "http.tls.allowed_sans: needs http.tls.client_ca_file"},
		{"database: {driver: postgres}", "database.dsn: is missing"},
		{"database: {dsn: 'postgres://u:geheim@h/d'}", "database.driver: is sqlite, but database.dsn is a Postgres URL"},
		{"credentials: []", "credentials: is empty"},
		{"credentials: [{header: a, query: b}]", "credentials[0]: has 2 of header, query and cookie"},
		{"credentials: [{scheme: Bearer}]", "credentials[0]: has 0 of header, query and cookie"},
		{"credentials: [{header: a}, {header: a}]", "credentials[1]: is the same as credentials[0]"},
		{"credentials: [{header: a, scheme: X}, {header: a, scheme: x}]", "credentials[1]: is the same as credentials[0]"},
		{"credentials: [{header: authorization, scheme: Basic}, {header: authorization}, {header: authorization, scheme: basic}]", "credentials[2]: is the same as credentials[0]"},
		{"credentials: [{header: authorization, scheme: 'Basic realm'}]", `credentials[0].scheme: "Basic realm" is not a scheme: write one word, such as Bearer, Basic or ApiKey`},
		{"credentials: [{header: x_auth_key}]", "begins with identity.header_prefix"},
		{"credentials: [{header: x.auth.key}]", "begins with identity.header_prefix"},
		{"credentials: [{header: x_original_url}]", "credentials[0].header: x_original_url is an override header"},
		{"client_address: {header: forwarded}", "client_address.header: forwarded is an override header, which gateways remove"},
		{"headers: {keep_overrides: [x-forwarded-prefx]}", "headers.keep_overrides[0]: \"x-forwarded-prefx\" is not an override header, which would be removed: did you mean x-forwarded-prefix?"},
		{"headers: {keep_overrides: [accept]}", "known are forwarded, path-info, script-name"},
		{"headers: {keep_overrides: [x-original-url, X_Original.URL]}", "headers.keep_overrides[1]: X_Original.URL is the same as headers.keep_overrides[0]"},
		{"headers: {keep_override: []}", "did you mean headers.keep_overrides?"},
		{"identity: {metadata_headers: [a.b, a!b]}", "identity.metadata_headers[1]: a!b gives the same header"},
		{"credentials: [{header: cookie}]", "write cookie: NAME instead"},
		{"credentials: [{query: a&b}]", "credentials[0].query"},
		{"credentials: [{query: a, scheme: b}]", "credentials[0].scheme: belongs to a header only"},
		{"identity: {header_prefix: x-auth}", "identity.header_prefix"},
		{"identity: {header_prefix: a-b-c-d-e-f-g-h-i-j-k-l-m-n-o-p-q-r-}", "identity.header_prefix: \"a-b-c-d-e-f-g-h-i-j-k-l-m-n-o-p-q-r-\" is longer than Envoy's regular expressions may be"},
		{"identity: {header_prefix: x-request-}", "covers x-request-id"},
		{"identity: {metadata_headers: [a_b, a-b]}", "identity.metadata_headers[1]: a-b gives the same header"},
		{"routes: [{match: /a}]", "routes[0]: route \"/a\": name a resource"},
		{"routes: [{match: /x/a, resource: a}, {match: '/{y}/b', resource: a}, {match: '/x/{z}', resource: a}]", "x.yaml:1: routes[2]: routes"},
		{"route_metadata: {routes: [{route: orders, resource: orders}]}", "route_metadata.routes[0].route: \"orders\": write KIND/NAMESPACE/NAME"},
		{"route_metadata: {routes: [{route: A/b/c, anonymous: true, resource: orders}]}", "anonymous goes without resource and action"},
		{"route_metadata: {routes: [{route: A/b/c}]}", "resource is missing"},
		{"route_metadata: {routes: [{route: A/b/c, resource: extauthz/keys}]}", "and not \"extauthz\""},
		{"route_metadata: {routes: [{route: A/b/c, anonymous: true}, {route: A/b/c, anonymous: true}]}", "twice"},
		{"routes: [{match: /a, resource: a, mode: shadow, until: soon}]", `routes[0].until: "soon" is not a date`},
		{"default_map: {strip_prefixes: [api]}", "default_map.strip_prefixes: strip prefix"},
		{"default_map:\n  strip_prefixes: [/api, '/v*']", "x.yaml:2: default_map.strip_prefixes: strip prefix \"/v*\": '*' would match names of resources too; write whole segments such as /api, and /{version} for any API version"},
		{"default_route: open", "default_route: \"open\" is none of map, authenticated, deny"},
		{"denials: {overrides: {scope_mising: {status: 404}}}", "denials.overrides.scope_mising: unknown reason code: did you mean scope_missing?"},
		{"denials: {overrides: {granted: {status: 404}}}", "denials.overrides.granted: unknown reason code"},
		{"denials: {overrides: {scope_missing: {status: 200}}}", "denials.overrides.scope_missing.status: 200 is too small: the minimum is 400"},
		{`denials: {overrides: {scope_missing: {headers: {x-a: "b\r\nc"}}}}`, "denials.overrides.scope_missing.headers.x-a"},
		{"denials: {problem_type_base: example}", `"example" is not a URL`},
		{"telemetry: {otlp_endpoint: 'collector:4317'}", "telemetry.otlp_endpoint: is not an endpoint of OTLP over gRPC: write http://HOST:4317"},
		{"telemetry: {otlp_endpoint: 'http://collector'}", "telemetry.otlp_endpoint: is not an endpoint"},
		{"telemetry: {otlp_endpoint: 'http://collector:4318/v1/traces'}", "telemetry.otlp_endpoint: is not an endpoint"},
		{"telemetry: {otlp_endpoint: 'https://u:geheim@collector:4317'}", "telemetry.otlp_endpoint: is not an endpoint"},
		{"telemetry: {otlp_endpoint: 'https://u:geheim@collector:x'}", "telemetry.otlp_endpoint: is not an endpoint"},
		{"telemetry: {otlp_endpoint: 'https://collector:4317?a=b'}", "telemetry.otlp_endpoint: is not an endpoint"},
		{"telemetry: {otlp_endpoint: 'grpc://collector:4317'}", "telemetry.otlp_endpoint: is not an endpoint"},
		{"route_metadata: {allow_anonymous: true}", "needs route_metadata.namespaces"},
		{"on_error: allow", "on_error: \"allow\" is none of unavailable, deny, error_response"},
		{"data_dir: ''", "data_dir: is empty"},
		{"routes: [{match: '/a/{id}', resource: 'a/{id}', encoded: allow}]", "x.yaml:1: routes[0]: route \"/a/{id}\": encoded: allow makes encoded characters data, which the resource \"a/{id}\" would be made from: name a resource without wildcards"},
		{"routes: [{match: /a, resource: a, encoded: allow}]", "the match has none: remove it"},
		{"routes: [{match: '/a/{id}', resource: a, encoded: data}]", `routes[0].encoded: "data" is none of refuse, allow`},
		{"routes: [{match: '/a/{id}:x/b', resource: a}]", "only the last segment may have a literal after its wildcard, as in {id}:cancel"},
		{"routes: [{match: '/a/{id}<b', resource: a}]", "the literal after the wildcard, \"<b\", must be of letters"},
		{"routes: [{match: '/a;b', resource: a}]", `";" is never part of a path that is judged`},
		{"routes: [{match: 'POST /a/{x}:c', resource: a}, {match: '/{y}/b:c', resource: b}]", "x.yaml:1: routes[1]: routes"},
		{"paths: {encoded: allow}", "x.yaml:1: paths.encoded: allow makes encoded characters in paths data, and default_route map takes the resource from the path: write default_route: authenticated"},
		{"paths: {max_path_bytes: 0}", "paths.max_path_bytes: 0 is too small: the minimum is 1"},
		{"paths: {max_query_bytes: 2000000}", "paths.max_query_bytes: 2000000 is too large: the maximum is 1048576"},
	} {
		got := problems(t, c.text)
		if len(got) != 1 || !strings.Contains(got[0], c.want) {
			t.Errorf("%s\n got %q\nwant %q", c.text, got, c.want)
		}
		if strings.Contains(strings.Join(got, ""), "geheim") {
			t.Errorf("%s: shows a password: %q", c.text, got)
		}
	}
}

func TestLoad_ChecksVariablesAndFlagsLikeTheFile(t *testing.T) {
	for variable, want := range map[string]string{
		"EXTAUTHZ_DATABASE_DSN=x":                "EXTAUTHZ_DATABASE_DSN: unknown setting database_dsn: did you mean database.dsn?",
		"EXTAUTHZ_CACHE__REDIS__ADRESSES=x":      "unknown setting cache.redis.adresses: did you mean cache.redis.addresses?",
		"EXTAUTHZ_DATABASE=x":                    "EXTAUTHZ_DATABASE: database is a section: set what is in it, such as EXTAUTHZ_DATABASE__DRIVER",
		"EXTAUTHZ_USAGE__FLUSH_INTERVAL=60":      `EXTAUTHZ_USAGE__FLUSH_INTERVAL: usage.flush_interval: "60" is not a duration`,
		"EXTAUTHZ_ROUTES=[{match: /a, resorce}]": "EXTAUTHZ_ROUTES: unknown setting routes[0].resorce: did you mean routes[0].resource?",
		"EXTAUTHZ_ROUTES=[{":                     "EXTAUTHZ_ROUTES: not valid YAML",
		"EXTAUTHZ_KEYS__PEPPER_FILES=/none/a":    "EXTAUTHZ_KEYS__PEPPER_FILES: keys.pepper_files[0]: /none/a can't be read",
	} {
		if got := problems(t, "", variable); len(got) != 1 || !strings.Contains(got[0], want) {
			t.Errorf("%s: got %q, want %q", variable, got, want)
		}
	}
	_, err := Load(Options{Flags: map[string]any{"lisen": 1, "log.level": "x"}})
	if err == nil || err.Error() != "command line: unknown setting lisen: did you mean grpc.listen?\ncommand line: log.level: \"x\" is none of debug, info, warn, error" {
		t.Errorf("flags: %v", err)
	}
}
