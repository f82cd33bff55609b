package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"extauthz/e2e/parts"
)

// checker returns a function that calls a service as Envoy does, without an Envoy.
func checker(t *testing.T, s *parts.Service) func(path, key string) *authv3.CheckResponse {
	t.Helper()
	c, err := grpc.NewClient("passthrough:///"+s.GRPC, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	client := authv3.NewAuthorizationClient(c)
	return func(path, key string) *authv3.CheckResponse {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		res, err := client.Check(ctx, &authv3.CheckRequest{Attributes: &authv3.AttributeContext{Request: &authv3.AttributeContext_Request{
			Http: &authv3.AttributeContext_HttpRequest{Method: "GET", Host: "h", Path: path, Headers: map[string]string{"x-api-key": key}}}}})
		if err != nil {
			t.Fatal(err)
		}
		return res
	}
}

func reason(res *authv3.CheckResponse) string {
	return res.GetDynamicMetadata().GetFields()["reason"].GetStringValue()
}

func reasonOf(check func(path, key string) *authv3.CheckResponse) func(path, key string) string {
	return func(path, key string) string { return reason(check(path, key)) }
}

// service starts a service for a test that needs the real binary, but no gateway.
func service(t *testing.T, configuration string) *parts.Service {
	t.Helper()
	if testing.Short() {
		t.Skip("builds the binary")
	}
	return parts.StartService(t, configuration)
}

// eventually waits for a state that the service reaches by itself.
func eventually(t *testing.T, f func() error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := parts.Eventually(ctx, f); err != nil {
		t.Error(err)
	}
}

func TestReload_ReplacesThePolicyAndKeepsItOnErrors(t *testing.T) {
	s := service(t, ``)
	check := checker(t, s)
	if got := reason(check("/open", "")); got != "missing_key" && got != "malformed_key" {
		t.Fatalf("got %s", got)
	}
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(s.Configuration, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		s.Signal(syscall.SIGHUP)
	}
	write(`routes: [{match: "/open", anonymous: true}]`)
	eventually(t, func() error {
		if got := reason(check("/open", "")); got != "anonymous" {
			return errors.New("the rule does not hold: " + got)
		}
		return nil
	})
	write(`routes: [{match: "/open"}]`)
	eventually(t, func() error {
		if !strings.Contains(s.Log(), "configuration was not reloaded") {
			return errors.New("the log does not report the bad file")
		}
		return nil
	})
	if got := reason(check("/open", "")); got != "anonymous" {
		t.Errorf("a bad file changed the policy: %s", got)
	}
	if got := get(t, "http://"+s.Ops+"/metrics"); !strings.Contains(got, `extauthz_config_reloads_total{result="failed"} 1`) ||
		!strings.Contains(got, `extauthz_decisions_total{decision="allow",reason="anonymous"}`) {
		t.Error("the metrics lack the decision")
	}
}

func get(t *testing.T, url string) string {
	t.Helper()
	res, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestMetrics_AreExported(t *testing.T) {
	s := service(t, ``)
	if got := get(t, "http://"+s.Ops+"/readyz"); !strings.Contains(got, `"state":"serving"`) || !strings.Contains(got, `"lease_fresh":true`) {
		t.Errorf("/readyz says %s", got)
	}
	check := checker(t, s)
	check("/orders", "no key")
	eventually(t, func() error {
		got := get(t, "http://"+s.Ops+"/metrics")
		for _, line := range []string{`extauthz_build_info{goversion="go`, `extauthz_keys{state="active"} 1`, `extauthz_decisions_total{decision="deny",reason="malformed_key"} 1`,
			"extauthz_check_duration_seconds_bucket", "extauthz_cache_requests_total", "extauthz_cache_entries", "extauthz_invalidation_lag_seconds",
			"extauthz_usage_pending_uses", `extauthz_database_connections{state="in_use"} `, "extauthz_database_connections_max ", "extauthz_config_reloads_total", "go_goroutines", "process_resident_memory_bytes"} {
			if !strings.Contains(got, line) {
				return errors.New(line + " is missing")
			}
		}
		if strings.Contains(strings.ReplaceAll(strings.ReplaceAll(got, `listener="admin"`, ""), "administrator_missing", ""), "admin") || strings.Contains(got, "ak_live_") {
			return errors.New("a key or a user is a label")
		}
		return nil
	})
}

func TestStop_FlushesUsageAndLosesNoKey(t *testing.T) {
	s := service(t, ``)
	k := s.NewKey("--scope", "orders:read")
	check := checker(t, s)
	const uses = 7
	for range uses {
		if got := reason(check("/orders", k.Key)); got != "granted" {
			t.Fatalf("got %s", got)
		}
	}
	s.Stop()
	s.Restart()
	if got := reason(check("/orders", k.Key)); got != "granted" {
		t.Errorf("after a restart: %s", got)
	}
	var used []struct{ Count int }
	if err := json.Unmarshal([]byte(s.Must("usage", "--key", k.ID, "-o", "json")), &used); err != nil {
		t.Fatal(err)
	}
	if len(used) != 1 || used[0].Count < uses {
		t.Errorf("got %+v, want %d uses", used, uses)
	}
}

func TestSQL_ChangeIsSeenWithinTheLease(t *testing.T) {
	s := service(t, ``)
	k := s.NewKey("--scope", "orders:read")
	check := checker(t, s)
	if got := reason(check("/orders", k.Key)); got != "granted" {
		t.Fatalf("got %s", got)
	}
	// Another process, as an operator's shell would be.
	if _, err := exec.LookPath("python3"); err != nil {
		parts.Missing(t, err)
	}
	out, err := exec.Command("python3", "-c", "import sqlite3,sys; c=sqlite3.connect(sys.argv[1], timeout=10); c.execute(\"UPDATE api_keys SET is_active=0 WHERE id=?\", (sys.argv[2],)); c.commit()",
		s.DataDir+"/extauthz.db", k.ID).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	changed := time.Now()
	eventually(t, func() error {
		if got := reason(check("/orders", k.Key)); got != "key_disabled" {
			return errors.New("it is still " + got)
		}
		return nil
	})
	if took := time.Since(changed); took > 3*time.Second {
		t.Errorf("it took %v", took)
	}
}

func TestStart_FailureIsOneLine(t *testing.T) {
	s := service(t, ``)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	junk := t.TempDir()
	if err := os.WriteFile(junk+"/extauthz.db", []byte("this is no database, and long enough to be read as one"), 0o600); err != nil {
		t.Fatal(err)
	}
	twice := junk + "/twice.yaml"
	if err := os.WriteFile(twice, []byte("grpc: {listn: x}\nlog: {level: loud}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		args []string
		env  string
		code int
		says string
	}{
		"port in use":                {[]string{"serve"}, "EXTAUTHZ_OPS__LISTEN=" + taken.Addr().String(), 1, "ops.listen"},
		"no such folder":             {[]string{"serve", "--data-dir", "/proc/none"}, "", 1, "data folder"},
		"no database":                {[]string{"serve", "--data-dir", junk}, "", 1, "is a file of another kind"},
		"two bad settings":           {[]string{"serve", "--config", twice}, "", 1, "2 problems: " + twice + `:1: unknown setting grpc.listn: did you mean grpc.listen?; ` + twice + ":2: log.level"},
		"no such file":               {[]string{"config", "check", "--config", "/none.yaml"}, "", 1, "/none.yaml"},
		"unknown variable":           {[]string{"config", "check"}, "EXTAUTHZ_GRPC__LISTN=x", 1, "grpc.listen"},
		"unknown command":            {[]string{"sever"}, "", 2, "--help"},
		"unknown flag":               {[]string{"keys", "list", "--al"}, "", 2, "--help"},
		"no such subcommand":         {[]string{"keys", "lst"}, "", 2, "did you mean get or list?"},
		"no such flag":               {[]string{"keys", "list", "--usr", "a"}, "", 2, "did you mean --user?"},
		"no names":                   {[]string{"cache", "stats", "-o", "name"}, "", 2, "-o name"},
		"a key that is lost":         {[]string{"keys", "create", "--user", "a", "--name", "b", "-o", "name"}, "", 2, "--save"},
		"a rotated key that is lost": {[]string{"keys", "rotate", "ak_live_00000000", "-o", "name"}, "", 2, "-o name"},
		"no such column":             {[]string{"keys", "list", "--sort", "weight"}, "", 2, "prefix, user"},
		"a limit of nothing":         {[]string{"keys", "list", "--limit", "0"}, "", 2, "--limit"},
		"no such time":               {[]string{"audit", "--since", "yesterday"}, "", 2, "30d"},
		"several keys":               {[]string{"keys", "revoke", "ak_live_00000000", "ak_live_11111111"}, "", 2, "--yes"},
		"missing argument":           {[]string{"keys", "get"}, "", 2, "--help"},
		"no server":                  {[]string{"keys", "list", "--server", "http://127.0.0.1:1"}, "", 1, "extauthz serve"},
		"no URL":                     {[]string{"keys", "list", "--server", "somewhere"}, "", 1, "http://127.0.0.1:9003"},
		"unknown key":                {[]string{"keys", "get", "ak_live_00000000"}, "", 1, "not found"},
		"bad scope":                  {[]string{"keys", "create", "--user", "a", "--name", "b", "--scope", "orders"}, "", 1, "resource:action"},
		"bad expiry":                 {[]string{"keys", "create", "--user", "a", "--name", "b", "--expires", "soon"}, "", 2, "30d"},
		"bad output":                 {[]string{"keys", "list", "-o", "xml"}, "", 2, "table, wide, json, yaml or name"},
		"bad path to match":          {[]string{"routes", "match", "GET", "/a/../b"}, "", 1, "refused"},
	} {
		t.Run(name, func(t *testing.T) {
			cmd := s.On(t).Command(c.args...)
			if c.args[0] == "serve" { // while the other one runs
				dir := t.TempDir()
				cmd.Env = append(cmd.Env, "EXTAUTHZ_GRPC__LISTEN=unix:"+dir+"/g", "EXTAUTHZ_HTTP__LISTEN=unix:"+dir+"/h", "EXTAUTHZ_ADMIN__LISTEN=unix:"+dir+"/a", "EXTAUTHZ_OPS__LISTEN=unix:"+dir+"/o")
			}
			cmd.Env = append(cmd.Env, c.env)
			var said strings.Builder
			cmd.Stderr = &said
			err := cmd.Run()
			var exit *exec.ExitError
			if !errors.As(err, &exit) || exit.ExitCode() != c.code || !strings.Contains(said.String(), c.says) || strings.Count(said.String(), "\n") != 1 {
				t.Errorf("%v: %q", err, said.String())
			}
		})
	}
	if n := strings.Count(s.Must("keys", "list"), "\n"); n != 2 { // the heading and the administrator
		t.Errorf("something was half done: %d lines", n)
	}
}

// contains returns an error unless text contains part; err, if not nil, replaces the
// text.
func contains(text, part string, err error) error {
	if err == nil && !strings.Contains(text, part) {
		err = fmt.Errorf("no %q in %s", part, text)
	}
	return err
}
