package config

import (
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"
)

// before is a time before the end of the shadow rule in testdata/full.yaml.
var before = time.Date(2027, 1, 30, 23, 59, 59, 0, time.UTC)

func options(t *testing.T, text string, environ ...string) Options {
	t.Helper()
	path := filepath.Join(t.TempDir(), "x.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return Options{Path: path, Explicit: true, Environ: environ, Now: func() time.Time { return before }}
}

func load(t *testing.T, text string, environ ...string) *Config {
	t.Helper()
	c, err := Load(options(t, text, environ...))
	if err != nil {
		t.Fatalf("Load: %v", err)
	}
	return c
}

// problems loads a faulty configuration, and returns the lines of the error without the
// folder of the file.
func problems(t *testing.T, text string, environ ...string) []string {
	t.Helper()
	o := options(t, text, environ...)
	_, err := Load(o)
	if err == nil {
		t.Fatalf("loaded, want an error:\n%s", text)
	}
	return strings.Split(strings.ReplaceAll(err.Error(), o.Path, "x.yaml"), "\n")
}

func documented(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("testdata/full.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestLoad_EmptyConfigurationIsValid(t *testing.T) {
	t.Chdir(t.TempDir())
	c, err := Load(Options{})
	if err != nil {
		t.Fatal(err)
	}
	want := Defaults()
	want.DefaultRoute = "map"
	want.Database.DSN = NewDSN("extauthz-data/extauthz.db")
	if reload, restart := Diff(want, c); reload != nil || restart != nil {
		t.Errorf("differs from the defaults in %v %v", reload, restart)
	}
	if got := c.Database.DSN.Reveal(); got != "extauthz-data/extauthz.db" {
		t.Errorf("dsn = %q", got)
	}
	if w := c.Warnings(testNow); len(w) > 0 {
		t.Errorf("the defaults warn: %q", w)
	}
}

func TestLoad_DocumentedFileHoldsTheDefaults(t *testing.T) {
	c := load(t, documented(t))
	if len(c.Routes) != 3 || c.Routes[0].Resource != "orders/{id}" || !c.Routes[1].Anonymous ||
		!c.Routes[2].Until.Equal(time.Date(2027, 1, 31, 0, 0, 0, 0, time.UTC)) {
		t.Errorf("routes = %+v", c.Routes)
	}
	if c.DefaultRoute != "deny" { // the file has rules, so the default is deny
		t.Errorf("default_route is %q", c.DefaultRoute)
	}
	c.Routes, c.DefaultRoute = nil, ""
	c.Database.DSN = DSN{}
	if reload, restart := Diff(Defaults(), c); reload != nil || restart != nil {
		t.Errorf("the documented values are not the defaults: %v %v", reload, restart)
	}
}

func TestLoad_CommentedLinesOfTheDocumentedFile(t *testing.T) {
	text := strings.Replace(documented(t), "  # - query: api_key   - cookie: api_key", "  - query: api_key\n  - cookie: api_key", 1)
	c := load(t, text)
	want := []Credential{{Header: "x-api-key"}, {Header: "authorization", Scheme: "Bearer"}, {Query: "api_key"}, {Cookie: "api_key"}}
	if !reflect.DeepEqual(c.Credentials, want) {
		t.Errorf("credentials = %+v", c.Credentials)
	}
	const dsn = "postgres://u:p@db.example.com/keys"
	c = load(t, strings.Replace(documented(t), `driver: sqlite, dsn: ""`, `driver: postgres, dsn: "`+dsn+`"`, 1))
	if c.Database.DSN.Reveal() != dsn {
		t.Errorf("dsn = %q", c.Database.DSN.Masked())
	}
	for _, mode := range []string{"single", "sentinel", "cluster"} {
		c = load(t, strings.Replace(documented(t), `addresses: [], mode: single, sentinel_master: ""`,
			`addresses: ["r:6379"], mode: `+mode+`, sentinel_master: m`, 1))
		if c.Cache.Redis.Mode != mode || c.Cache.Redis.Addresses[0] != "r:6379" {
			t.Errorf("redis = %+v", c.Cache.Redis)
		}
	}
}

func TestLoad_LaterLayersWin(t *testing.T) {
	o := options(t, "log: {level: warn, format: text}\nkeys: {environments: [a, b, c]}\ngrpc: {listen: 'unix:/run/a.sock'}",
		"EXTAUTHZ_LOG__LEVEL=debug", "EXTAUTHZ_KEYS__ENVIRONMENTS=dev, prod", "PATH=/bin", "EXTAUTHZ_GRPC__MAX_CONNECTION_AGE=3m")
	o.Flags = map[string]any{"log.level": "error", "data_dir": "/var/lib/x", "cache.ttl.negative": 5 * time.Second, "http.trusted_peers": []string{"10.0.0.0/8"}}
	c, err := Load(o)
	if err != nil {
		t.Fatal(err)
	}
	for name, got := range map[string][2]any{
		"flag over variable": {c.Log.Level, "error"}, "file over default": {c.Log.Format, "text"},
		"list replaced": {c.Keys.Environments, []string{"dev", "prod"}}, "variable": {c.GRPC.MaxConnectionAge, 3 * time.Minute},
		"untouched": {c.GRPC.MaxConnectionAgeGrace, DefaultMaxConnectionAgeGrace}, "file": {c.GRPC.Listen, "unix:/run/a.sock"},
		"data folder gives the database": {c.Database.DSN.Reveal(), "/var/lib/x/extauthz.db"},
		"typed flag":                     {c.Cache.TTL.Negative, 5 * time.Second}, "list flag": {c.HTTP.TrustedPeers, []string{"10.0.0.0/8"}},
	} {
		if !reflect.DeepEqual(got[0], got[1]) {
			t.Errorf("%s: got %v, want %v", name, got[0], got[1])
		}
	}
}

func TestLoad_ListReplacesTheDefaultList(t *testing.T) {
	for _, text := range []string{"credentials: [{header: x-other}]", "credentials: [{cookie: k}]"} {
		c := load(t, text)
		if len(c.Credentials) != 1 || c.Credentials[0].Scheme != "" || c.Credentials[0].Header == "x-api-key" {
			t.Errorf("%s: %+v", text, c.Credentials)
		}
	}
	c := load(t, "", "EXTAUTHZ_ROUTES=[{match: /a, resource: a}]", `EXTAUTHZ_CREDENTIALS=[{"query":"k"}]`,
		"EXTAUTHZ_DENIALS__OVERRIDES={scope_missing: {status: 404, headers: {x-why: scope}}}", "EXTAUTHZ_KEYS__ENVIRONMENTS=[one]")
	if len(c.Routes) != 1 || c.Credentials[0].Query != "k" || c.Denials.Overrides["scope_missing"].Status != 404 || len(c.Keys.Environments) != 1 {
		t.Errorf("from variables: %+v %+v %+v", c.Routes, c.Credentials, c.Denials.Overrides)
	}
}

func TestLoad_IgnoresOtherVariables(t *testing.T) {
	load(t, "", "EXTAUTHZ_SERVER=x", "EXTAUTHZ_TOKEN=x", "EXTAUTHZ_TOKEN_FILE=x", "EXTAUTHZ_KEY=x", "EXTAUTHZ_CONFIG=x",
		"EXTAUTHZ_SERVICE_HOST=10.0.0.1", "EXTAUTHZ_SERVICE_PORT=9001", "EXTAUTHZ_SERVICE_PORT_GRPC=9001", "EXTAUTHZ_PORT=tcp://10.0.0.1:9001",
		"EXTAUTHZ_PORT_9001_TCP=tcp://10.0.0.1:9001", "EXTAUTHZ_PORT_9001_TCP_ADDR=10.0.0.1", "EXTAUTHZ_REDIS_SERVICE_HOST=10.0.0.2",
		"EXTAUTHZ_LOG__SAMPLE_ALLOWED=", "EXTAUTHZ_ROUTES=")
	if c := load(t, "", "EXTAUTHZ_DATA_DIR=/d"); c.DataDir != "/d" {
		t.Errorf("data_dir = %q", c.DataDir)
	}
}

func TestLoad_MissingFileFailsOnlyIfNamed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "none.yaml")
	if _, err := Load(Options{Path: path}); err != nil {
		t.Errorf("not named: %v", err)
	}
	if _, err := Load(Options{Path: path, Explicit: true}); err == nil || err.Error() != path+": can't be read: no such file or directory" {
		t.Errorf("named: %v", err)
	}
	if _, err := Load(Options{Path: t.TempDir()}); err == nil || !strings.Contains(err.Error(), "is a directory") {
		t.Errorf("a folder: %v", err)
	}
}

func TestLoad_AcceptsEmptyFilesAndAnchors(t *testing.T) {
	for _, text := range []string{"", "# nothing\n", "---\n", "~", "log:\n", "grpc: {tls: &t {allowed_sans: []}}\nadmin: {tls: *t}"} {
		load(t, text)
	}
}

func TestLoad_DurationsHaveDaysAndWeeks(t *testing.T) {
	c := load(t, "retention: {audit: 730d, revoked_keys: 2w, expired_keys: 1d12h}\n", "EXTAUTHZ_RETENTION__USAGE=30d")
	day := 24 * time.Hour
	want := Retention{Audit: 730 * day, RevokedKeys: 14 * day, ExpiredKeys: 36 * time.Hour, Usage: 30 * day,
		Idempotency: Defaults().Retention.Idempotency, Interval: Defaults().Retention.Interval}
	if c.Retention != want {
		t.Errorf("got %+v, want %+v", c.Retention, want)
	}
	for _, text := range []string{"730d", "2w", "1d12h", "1.5d"} {
		if !regexp.MustCompile(durationPattern).MatchString(text) {
			t.Errorf("the schema refuses %s", text)
		}
	}
}
