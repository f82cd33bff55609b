package server

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"extauthz/cmd/extauthz/internal/config"
	"extauthz/models"
)

// edge is a setting with a value, in the form that the author of a file would write.
type edge struct {
	setting string
	value   any
	beside  map[string]any // other settings that this one needs
}

// elements holds, for lists and maps of sections, the fields that every element needs.
var elements = map[string]map[string]any{
	"credentials":           {"header": "x-key"},
	"routes":                {"match": "/a", "resource": "a"},
	"route_metadata.routes": {"route": "HTTPRoute/a/b", "resource": "a"},
	"denials.overrides":     {"status": 403},
}

// besides holds the other settings without which a setting would have no effect.
var besides = map[string]map[string]any{
	"cache.redis":           {"cache": map[string]any{"redis": map[string]any{"addresses": []any{"127.0.0.1:1"}}}},
	"cache.redis.tls":       {"cache": map[string]any{"redis": map[string]any{"addresses": []any{"127.0.0.1:1"}, "tls": map[string]any{"enabled": true}}}},
	"database.listen_dsn":   {"database": map[string]any{"driver": "postgres", "dsn": "postgres://u@127.0.0.1:1/d"}},
	"database.dsn":          {"database": map[string]any{"driver": "postgres"}},
	"route_metadata.routes": {"route_metadata": map[string]any{"enabled": true}},
}

// files writes one file of each kind that a setting might name, and returns their paths.
func files(t *testing.T) []string {
	folder := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(folder, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	return []string{folder, write("empty", ""), write("text", "text"), write("bytes", "\x00\xff\n"), write("long", strings.Repeat("x", 100_000)),
		write("secret", strings.Repeat("s", 40)), write("pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
		write("openapi", "openapi: 3.0.0\npaths: {}"), "/none/at/all", filepath.Join(write("file", "x"), "below")}
}

// edgesOf returns the edge values for a setting of the type.
func edgesOf(typ reflect.Type, tag reflect.StructTag, texts []string) (values []any) {
	low, high := tag.Get("min"), tag.Get("max")
	switch {
	case typ == reflect.TypeFor[time.Duration]():
		around := []time.Duration{0, -1, 1, time.Microsecond, time.Millisecond, time.Second, time.Minute, time.Hour, 24 * time.Hour, math.MaxInt64, math.MinInt64}
		for _, bound := range []string{low, high} {
			if d, err := time.ParseDuration(bound); err == nil {
				around = append(around, d-1, d, d+1)
			}
		}
		for _, d := range around {
			values = append(values, d.String())
		}
		return append(values, "", "1", "soon", "1d", "1e3s")
	case typ.Kind() == reflect.Int:
		around := []int{0, -1, 1, 2, math.MaxInt32, math.MaxInt32 + 1, math.MaxInt64, math.MinInt64}
		for _, bound := range []string{low, high} {
			if n, err := strconv.Atoi(bound); err == nil {
				around = append(around, n-1, n, n+1)
			}
		}
		for _, n := range around {
			values = append(values, n)
		}
		return append(values, 1.5, "x", "")
	case typ.Kind() == reflect.Float64:
		return []any{-0.1, 0, math.SmallestNonzeroFloat64, 0.5, 1, 1.1, math.MaxFloat64, math.Inf(1), "nan", "x"}
	case typ.Kind() == reflect.Bool:
		return []any{true, false, "yes", 1, ""}
	case typ.Kind() == reflect.Slice:
		values = []any{[]any{}, []any{"a", "a"}, "a,b", []any{[]any{}}}
		for _, text := range texts {
			values = append(values, []any{text})
		}
		return values
	case typ.Kind() == reflect.Map:
		for _, text := range texts {
			values = append(values, map[string]any{text: "v"}, map[string]any{"x-a": text})
		}
		return append(values, map[string]any{}, "x")
	}
	for _, word := range strings.Split(tag.Get("enum"), ",") {
		values = append(values, word, strings.ToUpper(word), word+" ")
	}
	for _, text := range texts {
		values = append(values, text)
	}
	return values
}

// edges returns the edges of every setting below t. It walks the configuration's structs,
// so that new settings are included automatically.
func edges(t *testing.T, typ reflect.Type, prefix string, texts []string) (all []edge) {
	for i := range typ.NumField() {
		f := typ.Field(i)
		name := f.Tag.Get("koanf")
		if name == "" {
			continue
		}
		setting := strings.TrimPrefix(prefix+"."+name, ".")
		inner := f.Type
		if inner.Kind() == reflect.Slice || inner.Kind() == reflect.Map {
			inner = inner.Elem()
		}
		section := inner.Kind() == reflect.Struct && inner.NumField() > 0 && inner.Field(0).Tag.Get("koanf") != ""
		switch {
		case section && inner == f.Type:
			all = append(all, edges(t, inner, setting, texts)...)
		case section:
			base, ok := elements[setting]
			if !ok {
				t.Errorf("%s: name what its elements need, in elements", setting)
			}
			for _, below := range edges(t, inner, "", texts) {
				one := maps.Clone(base)
				one[below.setting] = below.value
				if f.Type.Kind() == reflect.Map {
					all = append(all, edge{setting, map[string]any{"key_revoked": one}, nil})
				} else {
					all = append(all, edge{setting, []any{one}, nil}, edge{setting, []any{base, one}, nil})
				}
			}
		default:
			for _, value := range edgesOf(f.Type, f.Tag, texts) {
				all = append(all, edge{setting, value, nil})
			}
		}
	}
	for i := range all {
		for name, beside := range besides {
			if strings.HasPrefix(all[i].setting, name) && (all[i].beside == nil || len(name) > len("cache.redis")) {
				all[i].beside = beside
			}
		}
	}
	return all
}

// file returns a configuration that contains the edge.
func (e edge) file() map[string]any {
	root := copied(e.beside)
	at, parts := root, strings.Split(e.setting, ".")
	for _, part := range parts[:len(parts)-1] {
		below, ok := at[part].(map[string]any)
		if !ok {
			below = map[string]any{}
			at[part] = below
		}
		at = below
	}
	at[parts[len(parts)-1]] = e.value
	return root
}

func copied(m map[string]any) map[string]any {
	c := make(map[string]any, len(m))
	for k, v := range m {
		if below, ok := v.(map[string]any); ok {
			v = copied(below)
		}
		c[k] = v
	}
	return c
}

// starts builds everything that serve builds from a configuration, but binds no ports and
// connects to nothing.
func starts(ctx context.Context, c *config.Config, shared *models.DB) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	for _, l := range c.Listeners() {
		if _, _, err := config.ListenAddress(l.Address); err != nil {
			return err
		}
	}
	if c.Database.Driver == models.SQLite && !outside(DatabaseConfig(c).DSN) && (c.DataDir != config.DefaultDataDir || c.Database.DSN.Reveal() != config.Defaults().DataDir+"/"+config.DefaultDatabaseName) {
		db, err := OpenDatabase(ctx, c, log)
		if err != nil {
			return err
		}
		if err := db.Close(); err != nil {
			return err
		}
	}
	for _, dsn := range []config.DSN{c.Database.DSN, c.Database.ListenDSN} {
		if c.Database.Driver == models.Postgres && !dsn.IsZero() {
			if err := (models.Config{Driver: models.Postgres, DSN: dsn.Reveal()}).Check(); err != nil {
				return err
			}
		}
	}
	s, err := prepare(Config{Settings: c, Logger: log, Version: "t"})
	if err != nil {
		return err
	}
	s.db = shared
	defer func() {
		_ = s.closeRedis()
		if s.traces != nil { // nothing listens at the collector's address
			gone, cancel := context.WithCancel(ctx)
			cancel()
			_ = s.traces.Shutdown(gone)
		}
	}()
	return s.assemble(ctx)
}

// outside reports whether a database file at path would remain outside the test's own
// folder.
func outside(path string) bool {
	return filepath.IsAbs(path) && !strings.HasPrefix(filepath.Clean(path), os.TempDir()+"/")
}

// TestConfigCheck_AgreesWithServe: serve starts with every configuration that config check
// accepts, at the edges of every setting, in the file and in the environment. No value
// causes a panic.
func TestConfigCheck_AgreesWithServe(t *testing.T) {
	t.Chdir(t.TempDir())
	shared, err := models.Open(t.Context(), models.Config{Driver: models.SQLite, DSN: filepath.Join(t.TempDir(), "t.db")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = shared.Close() })
	if err := shared.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	texts := slices.Concat([]string{"", " ", "x", "X", "é", "\x00", "a\nb", "*", "-", "_", "a_b-", "%", "a b", strings.Repeat("l", 300), "x-auth-", "cookie", "Bearer", "/a", "/", "//", "/a/{b}", "/{b...}", "GET /a", "/{", "a:b", "a/b",
		"127.0.0.1:0", "127.0.0.1:65535", "127.0.0.1:65536", ":0", "*:80", "256.1.1.1:80", "[::1]:0", "[::1:0", "h:http", "unix:", "unix:/a", "unix:" + strings.Repeat("p", 108),
		"10.0.0.0/8", "10.0.0.1", "10.0.0.0/33", "::/0", "::ffff:10.0.0.0/104", "http://h", "http://h:4317", "https://h:4317/p", "http://u:p@h:1", "http://[::1", "h://", "about:blank",
		"2027-01-31", "2027-02-30", "9999-12-31T23:59:59Z", "0000-01-01", "postgres://u@127.0.0.1:1/d", "postgres://u@127.0.0.1:x/d", "postgres://u@h/d?sslmode=x", "host=h port=x", "host=127.0.0.1", "orders:read"}, files(t))
	all := edges(t, reflect.TypeFor[config.Config](), "", texts)
	all = some(all)
	valid := 0
	path := filepath.Join(t.TempDir(), "extauthz.yaml")
	for _, e := range all {
		text, err := yaml.Marshal(e.file())
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		value, err := yaml.Marshal(e.value)
		if err != nil {
			t.Fatal(err)
		}
		variable := config.Variable(e.setting) + "=" + strings.TrimSuffix(string(value), "\n")
		if text, ok := e.value.(string); ok {
			variable = config.Variable(e.setting) + "=" + text
		}
		for _, o := range []config.Options{{Path: path, Explicit: true}, {Path: "none.yaml", Environ: []string{variable}}} {
			c, err := loads(o)
			if err != nil && strings.HasPrefix(err.Error(), "panic: ") {
				t.Errorf("%s: %.200q: config check: %v", e.setting, e.value, err)
			}
			if err != nil {
				continue
			}
			valid++
			if err := starts(t.Context(), c, shared); err != nil {
				t.Errorf("%s: %.200q, environment %t: config check takes it, and serve: %v", e.setting, e.value, o.Environ != nil, err)
			}
		}
	}
	t.Logf("%d values, %d of them valid", 2*len(all), valid)
	if valid < len(all)/20 {
		t.Errorf("%d of %d values are valid: nothing is compared", valid, 2*len(all))
	}
}

// some leaves out most of the texts, unless the test shall try all. It keeps numbers and
// words, which have bounds; texts are many and similar.
func some(all []edge) (chosen []edge) {
	every := everyText
	if testing.Short() {
		every *= 4
	}
	for i, e := range all {
		_, text := e.value.(string)
		_, list := e.value.([]any)
		if _, table := e.value.(map[string]any); !text && !list && !table && !testing.Short() || i%every == 0 {
			chosen = append(chosen, e)
		}
	}
	return chosen
}

func loads(o config.Options) (c *config.Config, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	return config.Load(o)
}
