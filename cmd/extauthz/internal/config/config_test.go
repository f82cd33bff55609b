package config

import (
	"bytes"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"extauthz/authz"
)

const rich = `
grpc: {listen: "0.0.0.0:9001", reflection: true}
http: {listen: ":9002"}
admin: {listen: ":9003"}
credentials: [{header: authorization, scheme: Key}, {cookie: k}, {query: q}]
headers: {keep_overrides: [X-Forwarded-Prefix]}
identity: {header_prefix: x-id-, metadata_headers: [tier], forward_credential: true}
routes:
  - {match: "/{rest...}", anonymous: true}
  - {match: "/orders/{id}", resource: "orders/{id}"}
  - {match: "/reports", resource: reports, action: create, mode: shadow, until: 2027-01-31T10:30:00Z}
limits: {mode: off}
denials: {overrides: {scope_missing: {status: 404, title: "no: such", headers: {x-why: "scope"}}}}
client_address: {trusted_hops: 2}
paths: {repair: true, encoded: allow}
default_route: authenticated
`

func TestPrint_LoadsAgain(t *testing.T) {
	for _, text := range []string{"", documented(t), rich} {
		c := load(t, text)
		var out bytes.Buffer
		if err := c.Print(&out); err != nil {
			t.Fatal(err)
		}
		again := load(t, out.String())
		if reload, restart := Diff(c, again); reload != nil || restart != nil {
			t.Errorf("differs in %v %v:\n%s", reload, restart, out.String())
		}
	}
}

func TestWarnings_AnAsteriskIsNoWildcard(t *testing.T) {
	w := strings.Join(load(t, "routes: [{match: '/orders/*', resource: orders}]\ncredentials: [{header: x_api_key}]").Warnings(testNow), "\n")
	for _, want := range []string{`routes[0]: /orders/* holds "*", which matches only itself: write {name}`, `credentials[0]: the printed configurations refuse or drop headers with "_"`} {
		if !strings.Contains(w, want) {
			t.Errorf("no warning %q in\n%s", want, w)
		}
	}
}

func TestWarnings_NameHazards(t *testing.T) {
	w := load(t, rich).Warnings(testNow)
	for _, want := range []string{
		"admin.listen: :9003 can be reached from other machines without TLS",
		"grpc.listen: 0.0.0.0:9001 can be reached from other machines",
		"http.trusted_peers: is empty, so that requests to :9002 from other machines are refused",
		"routes[0]: /{rest...} is anonymous and matches everything",
		"routes[1]: beside /orders/{id}, which requires orders/{id}, action by method, less is required: GET /orders/1/, ",
		"routes[2]: beside /reports, which requires reports:create, less is required: GET /reports/, ",
		"is in shadow mode until",
		"credentials[2]: keys in a query string",
		"identity.forward_credential: upstreams get the callers' keys",
		"client_address.trusted_hops: 2: exactly this many proxies",
		"paths.encoded: ", "paths.repair: ",
		"headers.keep_overrides[0]: clients may send x-forwarded-prefix to the upstream",
	} {
		if !slices.ContainsFunc(w, func(line string) bool { return strings.Contains(line, want) }) {
			t.Errorf("no warning %q in\n%s", want, strings.Join(w, "\n"))
		}
	}
	if len(w) != 13 {
		t.Errorf("%d warnings, want 13:\n%s", len(w), strings.Join(w, "\n"))
	}
}

func TestWarnings_TracesOnThePortOfHTTP(t *testing.T) {
	for endpoint, want := range map[string]int{"http://collector:4317": 0, "https://collector:4317/": 0, "http://[::1]:4317": 0, "http://collector:4318": 1} {
		if w := load(t, `telemetry: {otlp_endpoint: "`+endpoint+`"}`).Warnings(testNow); len(w) != want {
			t.Errorf("%s: %q", endpoint, w)
		}
	}
}

func TestLoopback_IsReachableFromThisMachineOnly(t *testing.T) {
	for listen, want := range map[string]bool{
		"127.0.0.1:1": true, "127.9.9.9:1": true, "[::1]:1": true, "localhost:1": true, "unix:/run/x": true,
		":1": false, "0.0.0.0:1": false, "[::]:1": false, "10.0.0.1:1": false, "example.com:1": false, "": false,
	} {
		if got := loopback(listen); got != want {
			t.Errorf("loopback(%q) = %v", listen, got)
		}
	}
}

func TestAllowedHeaders_NameAllInputsOfDecisions(t *testing.T) {
	for text, want := range map[string][]string{
		"":   {"authorization", "content-type", "x-api-key", "x-auth-*", "x-request-id"},
		rich: {"authorization", "content-type", "cookie", "x-forwarded-for", "x-id-*", "x-request-id"},
	} {
		if got := AllowedHeaders(load(t, text)); !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
	}
}

func TestDiff_NamesSettingsThatNeedARestart(t *testing.T) {
	for _, c := range []struct {
		change          func(*Config)
		reload, restart []string
	}{
		{func(*Config) {}, nil, nil},
		{func(c *Config) { c.Routes = []Route{{Match: "/"}}; c.Log.Level = "debug" }, []string{"log.level", "routes"}, nil},
		{func(c *Config) { c.Credentials[1].Scheme = "Key" }, []string{"credentials"}, nil},
		{func(c *Config) { c.Denials.Overrides["throttled"] = Override{Status: 503} }, []string{"denials.overrides"}, nil},
		{func(c *Config) {
			c.Identity.HeaderPrefix, c.OnError, c.DebugHeaders, c.Paths.Repair, c.CORS.AllowPreflights = "x-id-", "deny", true, true, true
			c.ClientAddress.TrustedHops, c.RouteMetadata.Enabled, c.OpenAPI.Files, c.Log.SampleAllowed = 1, true, []string{"a"}, 1
		}, []string{"client_address.trusted_hops", "cors.allow_preflights", "debug_headers", "identity.header_prefix", "log.sample_allowed", "on_error", "openapi.files", "paths.repair", "route_metadata.enabled"}, nil},
		{func(c *Config) { c.Headers.KeepOverrides = []string{"forwarded"} }, []string{"headers.keep_overrides"}, nil},
		{func(c *Config) { c.Keys.Brand = "sk" }, nil, []string{"keys.brand"}},
		{func(c *Config) { c.GRPC.Listen = "a:1"; c.Limits.Mode = "off" }, []string{"limits.mode"}, []string{"grpc.listen"}},
		{func(c *Config) { c.Database.DSN = NewDSN("x") }, nil, []string{"database.dsn"}},
		{func(c *Config) { c.Admin.TLS.CertFile = "x" }, nil, []string{"admin.tls.cert_file"}},
		{func(c *Config) { c.HTTP.TLS.CertFile = "x" }, nil, []string{"http.tls.cert_file"}},
		{func(c *Config) { c.GRPC.TLS.CertFile = "new" }, []string{"grpc.tls.cert_file"}, nil},
	} {
		before, after := Defaults(), Defaults()
		before.GRPC.TLS.CertFile, after.GRPC.TLS.CertFile = "old", "old"
		c.change(after)
		reload, restart := Diff(before, after)
		if !slices.Equal(reload, c.reload) || !slices.Equal(restart, c.restart) {
			t.Errorf("got %v %v, want %v %v", reload, restart, c.reload, c.restart)
		}
	}
	// With the same length and first letter, reflect.DeepEqual would take them for equal.
	a, b := Defaults(), Defaults()
	a.Cache.Redis.Password, b.Cache.Redis.Password = NewSecret("secret-1"), NewSecret("secret-2")
	if _, restart := Diff(a, b); !slices.Equal(restart, []string{"cache.redis.password"}) {
		t.Errorf("a changed password is not seen: %v", restart)
	}
}

func TestConfig_DomainValuesComeFromSettings(t *testing.T) {
	c := load(t, rich)
	want := []authz.CredentialSource{
		{Kind: authz.SourceHeader, Name: "authorization", Scheme: "Key"},
		{Kind: authz.SourceCookie, Name: "k"}, {Kind: authz.SourceQuery, Name: "q"},
	}
	if got := c.CredentialSources(); !slices.Equal(got, want) {
		t.Errorf("sources = %v", got)
	}
	table, err := c.RouteTable()
	if err != nil {
		t.Fatal(err)
	}
	if rules := table.Rules(); len(rules) != 3 || !rules[0].Anonymous || !rules[2].Shadow || rules[2].Until.Hour() != 10 {
		t.Errorf("rules = %v", rules)
	}
	if m, err := c.DefaultMap(); err != nil {
		t.Error(err)
	} else if resource, action, ok := m.Target("GET", "/api/v2/orders/7"); resource != "orders" || action != "read" || !ok {
		t.Errorf("default map: %s %s %v", resource, action, ok)
	}
}

func TestSettings_HaveNameDescriptionAndValidDefault(t *testing.T) {
	docs := descriptions()
	var check func(reflect.Type)
	check = func(typ reflect.Type) {
		for i := range typ.NumField() {
			f := typ.Field(i)
			if !f.IsExported() {
				continue
			}
			if f.Tag.Get("koanf") == "" || docs[typ.Name()+"."+f.Name] == "" {
				t.Errorf("%s.%s has no koanf tag or no doc comment", typ.Name(), f.Name)
			}
			inner := f.Type
			for inner.Kind() == reflect.Slice || inner.Kind() == reflect.Map {
				inner = inner.Elem()
			}
			if isSection(inner) {
				check(inner)
			}
		}
	}
	check(reflect.TypeFor[Config]())
}

// testNow is long before any shadow mode in these tests ends.
var testNow = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func TestWarnings_NameOpeningsWithTheirRules(t *testing.T) {
	w := strings.Join(load(t, `routes:
  - {match: "/orders/", resource: orders}
  - {match: "GET /orders/{id}", anonymous: true}
`).Warnings(testNow), "\n")
	if want := `routes[1]: GET /orders/{id} is anonymous and takes precedence over /orders/, which needs a key`; !strings.Contains(w, want) {
		t.Errorf("got %s, want %s", w, want)
	}
}
