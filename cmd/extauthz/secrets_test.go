package main

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"extauthz/authz"
	"extauthz/cmd/extauthz/internal/config"
)

// run executes a command line as main does, and returns its output.
func run(t *testing.T, args ...string) (string, error) {
	t.Helper()
	root := newRoot()
	var out bytes.Buffer
	root.SetOut(&out)
	root.SetErr(&out)
	root.SetArgs(args)
	err := root.ExecuteContext(t.Context())
	return out.String(), err
}

func contents(t *testing.T, folder string) map[string]string {
	t.Helper()
	files, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	for _, f := range files {
		text, err := os.ReadFile(filepath.Join(folder, f.Name()))
		if err != nil {
			t.Fatal(err)
		}
		found[f.Name()] = string(text)
	}
	return found
}

func TestSecrets_AreCreatedOnceAndLoad(t *testing.T) {
	t.Chdir(t.TempDir())
	folder := filepath.Join(t.TempDir(), "secrets")
	said, err := run(t, "secrets", "create", folder)
	if err != nil {
		t.Fatal(err)
	}
	first := contents(t, folder)
	if len(first) != 6 {
		t.Errorf("%d files", len(first))
	}
	for name, secret := range first {
		if strings.Contains(said, secret) {
			t.Errorf("%s was printed", name)
		}
		want := ownSecret
		if name == "database.password" || name == "redis.password" {
			want = sharedSecret
		}
		info, err := os.Stat(filepath.Join(folder, name))
		if err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v %v", name, info.Mode(), err)
		}
	}
	if first["database.pgpass"] != "*:*:*:*:"+first["database.password"] {
		t.Error("the service has another password than the database")
	}
	c := config.Defaults()
	c.Admin.BootstrapKeyFile = filepath.Join(folder, "admin.key")
	c.Cache.SealingKeyFile = filepath.Join(folder, "sealing.key")
	c.Keys.PepperFiles = []string{filepath.Join(folder, "pepper")}
	if _, err := c.BootstrapKey(); err != nil {
		t.Error(err)
	}
	if keys, err := c.SealingKeys(); err != nil || len(keys) != 1 {
		t.Error(len(keys), err)
	}
	if _, err := c.Peppers(); err != nil {
		t.Error(err)
	}

	if err := os.Remove(filepath.Join(folder, "pepper")); err != nil {
		t.Fatal(err)
	}
	if _, err := run(t, "secrets", "create", folder); err != nil {
		t.Fatal(err)
	}
	second := contents(t, folder)
	for name, secret := range first {
		if (name == "pepper") == (second[name] == secret) {
			t.Errorf("%s: kept is %v", name, second[name] == secret)
		}
	}
}

func TestKeysCreate_SavedKeyIsNotPrinted(t *testing.T) {
	calls := 0
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		calls++
		_, _ = w.Write([]byte(`{"id":"1","key":"ak_live_12345678_secret","prefix":"ak_live_12345678"}`))
	}))
	defer api.Close()
	t.Setenv("EXTAUTHZ_TOKEN", authz.NewSecret("token").Reveal())
	file := filepath.Join(t.TempDir(), "demo.key")
	for range 2 {
		said, err := run(t, "--server", api.URL, "keys", "create", "--user", "u", "--name", "n", "--save", file)
		if err != nil || strings.Contains(said, "_secret") {
			t.Fatal(said, err)
		}
	}
	text, err := os.ReadFile(file)
	if err != nil || string(text) != "ak_live_12345678_secret\n" || calls != 1 {
		t.Errorf("%q after %d calls: %v", text, calls, err)
	}
}

func TestKeysRotate_SavedKeyIsNotPrinted(t *testing.T) {
	calls := 0
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		calls++
		_, _ = w.Write([]byte(`{"id":"2","key":"ak_live_12345678_secret","prefix":"ak_live_12345678","old":{"id":"1"}}`))
	}))
	defer api.Close()
	t.Setenv("EXTAUTHZ_TOKEN", authz.NewSecret("token").Reveal())
	file := filepath.Join(t.TempDir(), "new.key")
	said, err := run(t, "--server", api.URL, "keys", "rotate", "ak_live_abcdefgh", "--save", file)
	if err != nil || strings.Contains(said, "_secret") {
		t.Fatal(said, err)
	}
	if text, err := os.ReadFile(file); err != nil || string(text) != "ak_live_12345678_secret\n" {
		t.Errorf("%q: %v", text, err)
	}
	if _, err := run(t, "--server", api.URL, "keys", "rotate", "ak_live_abcdefgh", "--save", file); err == nil || !strings.Contains(err.Error(), "exists") || calls != 1 {
		t.Errorf("a file that exists: %v after %d calls, want an error and no second call", err, calls)
	}
}

func TestHealthcheck_ReadyNotReadyAndNoServer(t *testing.T) {
	t.Chdir(t.TempDir())
	status, body := http.StatusOK, `{"state":"serving","cache":{"state":"fresh"}}`
	ops := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/readyz" {
			t.Errorf("asked %s", r.URL.Path)
		}
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	}))
	t.Setenv("EXTAUTHZ_OPS__LISTEN", strings.TrimPrefix(ops.URL, "http://"))
	if said, err := run(t, "healthcheck"); err != nil || said != "serving\n" {
		t.Errorf("%q %v", said, err)
	}
	// A service that refused a change of its file goes on with the configuration before
	// it.
	for _, faulty := range []string{"routes: [{match: /x, scope: y}]", "routes: [", "ops: {listen: 1"} {
		if err := os.WriteFile("extauthz.yaml", []byte(faulty), 0o600); err != nil {
			t.Fatal(err)
		}
		if said, err := run(t, "healthcheck"); err != nil || said != "serving\n" {
			t.Errorf("with %q as configuration: %q %v", faulty, said, err)
		}
	}
	if err := os.Remove("extauthz.yaml"); err != nil {
		t.Fatal(err)
	}
	status, body = http.StatusServiceUnavailable, `{"state":"draining"}`
	if _, err := run(t, "healthcheck"); err == nil || !strings.Contains(err.Error(), "draining") {
		t.Error(err)
	}
	status, body = http.StatusOK, "hello"
	if _, err := run(t, "healthcheck"); err == nil || !strings.Contains(err.Error(), "not this service") {
		t.Error(err)
	}
	ops.Close()
	if _, err := run(t, "healthcheck"); err == nil || strings.Contains(err.Error(), "\n") || !strings.Contains(err.Error(), "does not answer") {
		t.Error(err)
	}
}
