package e2e

import (
	"context"
	"database/sql"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"extauthz/e2e/parts"
)

// opsAnswer returns status and body; status 0 if no server answers.
func opsAnswer(t *testing.T, url string) (int, string) {
	t.Helper()
	client := http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Get(url)
	if err != nil {
		return 0, ""
	}
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(b)
}

// notReady waits until /readyz answers 503 with a text, and /healthz 200.
func notReady(t *testing.T, s *parts.Service, text string) {
	t.Helper()
	eventually(t, func() error {
		if status, _ := opsAnswer(t, "http://"+s.Ops+"/healthz"); status != http.StatusOK {
			return fmt.Errorf("/healthz answers %d", status)
		}
		status, body := opsAnswer(t, "http://"+s.Ops+"/readyz")
		if status != http.StatusServiceUnavailable || !strings.Contains(body, text) {
			return fmt.Errorf("/readyz answers %d without %q: %s", status, text, body)
		}
		return nil
	})
}

func TestStart_ServesHealthWhileTheDatabaseIsWaitedFor(t *testing.T) {
	if testing.Short() {
		t.Skip("needs Postgres")
	}
	postgres := parts.StartPostgres(t)
	dsn := postgres.NewDatabase(t)
	if err := postgres.Stop(); err != nil {
		t.Fatal(err)
	}
	s := parts.LaunchService(t, fmt.Sprintf("database: {driver: postgres, dsn: %q}", strings.Replace(dsn, "/test", "/later", 1)))
	notReady(t, s, "waiting for the database: the database cannot be reached (connection refused)")
	for _, address := range []string{s.GRPC, s.HTTP, s.Admin} { // if they were bound and not served, clients would wait
		if c, err := net.Dial("tcp", address); err == nil {
			_ = c.Close()
			t.Errorf("%s is bound and not served", address)
		}
	}
	if _, metrics := opsAnswer(t, "http://"+s.Ops+"/metrics"); !strings.Contains(metrics, `extauthz_condition{name="database_wait",severity="critical"} 1`) {
		t.Error("no metric reports what is waited for")
	}
	if _, stderr, err := s.CLI("healthcheck"); err == nil || !strings.Contains(stderr, "connection refused") {
		t.Errorf("healthcheck does not say why: %v, %s", err, stderr)
	}
	if err := postgres.Start(); err != nil {
		t.Fatal(err)
	}
	notReady(t, s, "the server has no database of that name (SQLSTATE 3D000)")
	db, err := sql.Open("pgx", postgres.Superuser())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	name := dsnDatabase(dsn)
	name = strings.Replace(name, "test", "later", 1)
	if _, err := db.Exec("CREATE DATABASE " + name); err != nil {
		t.Fatal(err)
	}
	s.AwaitReady()
	if got := strings.Count(s.Log(), "condition began: the start waits"); got != 2 { // one for each fault
		t.Errorf("%d lines about what is waited for", got)
	}
	// There is no administrator, since no file with a key is configured.
	if status, body := opsAnswer(t, "http://"+s.Ops+"/readyz"); status != http.StatusOK || strings.Contains(body, "database_wait") {
		t.Errorf("/readyz answers %d: %s", status, body)
	}
	s.Stop()
	if _, err := db.Exec("DROP DATABASE " + name + " WITH (FORCE)"); err != nil {
		t.Error(err)
	}
}

func dsnDatabase(dsn string) string {
	name, _, _ := strings.Cut(dsn[strings.LastIndex(dsn, "/")+1:], "?")
	return name
}

func TestStart_ReportsThatAMigrationIsWaitedFor(t *testing.T) {
	if testing.Short() {
		t.Skip("needs Postgres")
	}
	postgres := parts.StartPostgres(t)
	dsn := postgres.NewDatabase(t)
	db, err := sql.Open("pgx", dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	conn, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.ExecContext(t.Context(), "SELECT pg_advisory_lock($1::bigint)", 0x6578746D6967); err != nil {
		t.Fatal(err)
	}
	s := parts.LaunchService(t, fmt.Sprintf("database: {driver: postgres, dsn: %q}", dsn))
	notReady(t, s, "migrating the database from version 0")
	if err := conn.Close(); err != nil { // returns it to the pool, which is closed next
		t.Fatal(err)
	}
	_ = db.Close()
	s.AwaitReady()
	s.Stop()
}

// TestStart_EndsCleanlyWhileItWaits: for a database that does not accept connections, for
// one that never answers, and with a limit of the wait.
func TestStart_EndsCleanlyWhileItWaits(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the binary")
	}
	silent, err := net.Listen("tcp", "127.0.0.1:0") // accepts, and never answers
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = silent.Close() })
	port, err := parts.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	for name, address := range map[string]string{"no server": fmt.Sprint("127.0.0.1:", port), "silent": silent.Addr().String()} {
		t.Run(name, func(t *testing.T) {
			s := parts.LaunchService(t, fmt.Sprintf("database: {driver: postgres, dsn: %q}", "postgres://u@"+address+"/x?sslmode=disable"))
			notReady(t, s, "waiting for the database: the database cannot be reached")
			s.Stop()
			if !strings.Contains(s.Log(), `"stopped"`) {
				t.Error("it did not end cleanly")
			}
		})
	}
	t.Run("limit", func(t *testing.T) {
		s := parts.LaunchService(t, fmt.Sprintf("database: {driver: postgres, start_timeout: 2s, dsn: %q}", fmt.Sprintf("postgres://u@127.0.0.1:%d/x?sslmode=disable", port)))
		if status := s.Ended(); status != 1 || !strings.Contains(lastLine(s.Log()), "database.start_timeout (2s) is over") || !strings.Contains(lastLine(s.Log()), "database can't be reached") {
			t.Errorf("status %d: %s", status, lastLine(s.Log()))
		}
	})
}

func lastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return lines[len(lines)-1]
}

// TestStart_EndsAtOnceOnAWrongConfiguration: the service does not wait for what waiting
// can't fix, whatever the database does.
func TestStart_EndsAtOnceOnAWrongConfiguration(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the binary")
	}
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = taken.Close() })
	for name, c := range map[string]struct{ configuration, want string }{
		"syntax of the DSN": {`database: {driver: postgres, dsn: "postgres://u@127.0.0.1:notaport/x"}`, "database.dsn"},
		"unknown option":    {`database: {driver: postgres, dsn: "postgres://u@127.0.0.1:1/x?sslmode=maybe"}`, "database.dsn"},
		"sealing key":       {fmt.Sprintf("database: {driver: postgres, dsn: %q}\ncache: {sealing_key_file: %q}", "postgres://u@127.0.0.1:1/x", shortFile(t)), "sealing_key_file"},
		"port in use":       {fmt.Sprintf("database: {driver: postgres, dsn: %q}\ngrpc: {listen: %q}", "postgres://u@127.0.0.1:1/x", taken.Addr()), "grpc.listen"},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			stderr, status := serveOnce(ctx, t, c.configuration)
			if status != 1 || !strings.Contains(lastLine(stderr), c.want) || ctx.Err() != nil {
				t.Errorf("status %d: %s", status, stderr)
			}
		})
	}
}

// shortFile returns a file with too few bytes for a key.
func shortFile(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "short.key")
	if err := os.WriteFile(path, []byte("short"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// serveOnce runs serve with only a configuration, until it or ctx ends.
func serveOnce(ctx context.Context, t *testing.T, configuration string) (stderr string, status int) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "extauthz.yaml")
	if err := os.WriteFile(file, []byte(configuration), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(ctx, parts.Binary(t), "serve", "--config", file, "--data-dir", t.TempDir())
	cmd.Env = os.Environ()
	for _, l := range []string{"GRPC", "HTTP", "ADMIN", "OPS"} {
		if name := "EXTAUTHZ_" + l + "__LISTEN"; !strings.Contains(configuration, strings.ToLower(l)+": {listen") {
			cmd.Env = append(cmd.Env, name+"=127.0.0.1:0")
		}
	}
	out, _ := cmd.CombinedOutput()
	return string(out), cmd.ProcessState.ExitCode()
}
