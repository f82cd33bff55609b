package e2e

import (
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"extauthz/e2e/parts"
)

type examined struct{ Name, State, Text, Remedy string }

// doctor runs the command in both output forms and returns its findings.
func doctor(t *testing.T, s *parts.Service, healthy bool, flags ...string) []examined {
	t.Helper()
	out, errOut, err := s.CLI(append([]string{"doctor", "-o", "json"}, flags...)...)
	var results []examined
	if json.Unmarshal([]byte(out), &results) != nil || len(results) == 0 {
		t.Fatalf("doctor: %v: %s%s", err, out, errOut)
	}
	if (err == nil) != healthy {
		t.Errorf("doctor: %v: %s", err, out)
	}
	text, _, textErr := s.CLI(append([]string{"doctor"}, flags...)...)
	for _, r := range results {
		if !strings.Contains(text, r.Name) || r.State == "failed" && r.Remedy == "" {
			t.Errorf("%+v in\n%s", r, text)
		}
	}
	if (textErr == nil) != healthy || strings.Contains(text+out+errOut, secretWord) {
		t.Errorf("doctor: %v: %s", textErr, text)
	}
	return results
}

// secretWord is part of every value that must not be shown.
const secretWord = "s3cr3t-word"

func wantExamined(t *testing.T, results []examined, name, state, word string) {
	t.Helper()
	for _, r := range results {
		if r.Name == name && r.State == state && strings.Contains(r.Text, word) {
			return
		}
	}
	t.Errorf("no %s: %s with %q in %+v", name, state, word, results)
}

// TestDoctor_AHealthyServiceAndItsConfiguration: on both databases, and the command
// leaves nothing behind.
func TestDoctor_AHealthyServiceAndItsConfiguration(t *testing.T) {
	if testing.Short() {
		t.Skip("needs Postgres and Redis")
	}
	for _, driver := range []string{"sqlite", "postgres"} {
		t.Run(driver, func(t *testing.T) {
			database, dsn := "", ""
			if driver == "postgres" {
				file, _ := administratorFile(t)
				dsn = parts.StartPostgres(t).NewDatabase(t)
				database = fmt.Sprintf("database: {driver: postgres, dsn: %q}\nadmin: {bootstrap_key_file: %q}\n", strings.Replace(dsn, "postgres@", "postgres:"+secretWord+"@", 1), file)
			}
			redis := parts.StartRedis(t, "--maxmemory-policy", "volatile-lru")
			s := parts.StartService(t, database+fmt.Sprintf("cache: {monitor: {interval: 1s}, sealing_key_file: %q, redis: {addresses: [%q]}}", sealingKeyFile(t), redis.Addr()))
			results := doctor(t, s, true)
			for _, r := range results {
				if r.State != "ok" && r.State != "skipped" {
					t.Errorf("%+v", r)
				}
			}
			wantExamined(t, results, "database writes", "ok", "")
			wantExamined(t, results, "redis", "ok", "")
			wantExamined(t, results, "service", "ok", "serving")
			if driver == "postgres" {
				db, err := sql.Open("pgx", dsn)
				if err != nil {
					t.Fatal(err)
				}
				defer func() { _ = db.Close() }()
				var left int
				if err := db.QueryRow("SELECT count(*) FROM usage_marks").Scan(&left); err != nil || left != 0 {
					t.Errorf("%d rows are left: %v", left, err)
				}
			}
			eventually(t, func() error {
				if stats, _, _ := s.CLI("cache", "stats"); !strings.Contains(stats, "hit rate of") {
					return errors.New("no replica has left its figures in Redis")
				}
				return nil
			})
			s.Stop()
			// The sealing key differs from the replica's, whose figures are still in
			// Redis.
			other := filepath.Join(t.TempDir(), "other.key")
			if err := os.WriteFile(other, []byte(strings.Repeat("fedcba9876543210", 4)), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(s.Configuration, []byte(database+fmt.Sprintf("cache: {monitor: {interval: 1s}, sealing_key_file: %q, redis: {addresses: [%q]}}", other, redis.Addr())), 0o600); err != nil {
				t.Fatal(err)
			}
			wantExamined(t, doctor(t, s, false), "redis sealing", "warning", "which this one does not have")
		})
	}
}

// TestDoctor_NamesWhatIsBroken: from the configuration alone, while no service runs.
func TestDoctor_NamesWhatIsBroken(t *testing.T) {
	s := service(t, `keys: {pepper_files: []}`)
	s.NewKey("--scope", "orders:read")
	s.Stop()
	pepper := filepath.Join(t.TempDir(), "pepper")
	if err := os.WriteFile(pepper, []byte(strings.Repeat(secretWord, 8)), 0o600); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(s.DataDir, "extauthz.db")
	db, err := sql.Open("sqlite", "file:"+path)
	if err != nil {
		t.Fatal(err)
	}
	for _, statement := range []string{
		`UPDATE api_keys SET scopes = 'orders:read' WHERE user_id = 'alice'`,
		`UPDATE api_keys SET hash_alg = 'hmac-sha256', pepper_id = 'gone' WHERE user_id <> 'alice'`,
	} {
		if _, err := db.Exec(statement); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	over := parts.NewAuthority(t).IssueFor(t.TempDir(), now.Add(-48*time.Hour), now.Add(-time.Minute), "localhost")
	port, err := parts.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	write := func(configuration string) {
		t.Helper()
		if err := os.WriteFile(s.Configuration, []byte(configuration), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(fmt.Sprintf("grpc: {tls: {cert_file: %q, key_file: %q}}\nkeys: {pepper_files: [%q]}\ncache: {redis: {addresses: [\"127.0.0.1:%d\"], password: %q}}",
		over.CertFile, over.KeyFile, pepper, port, secretWord))
	results := doctor(t, s, false)
	wantExamined(t, results, "grpc.tls.cert_file", "failed", "ended at")
	wantExamined(t, results, "rows", "warning", "1 rows of keys cannot be read")
	wantExamined(t, results, "peppers", "failed", `1 keys were made with pepper "gone"`)
	wantExamined(t, results, "redis", "warning", "does not answer")
	wantExamined(t, results, "service", "failed", "")

	write(fmt.Sprintf("database: {driver: postgres, dsn: \"postgres://u:%s@127.0.0.1:%d/x?sslmode=disable\"}", secretWord, port))
	wantExamined(t, doctor(t, s, false), "database", "failed", "cannot be reached (connection refused)")
	write("database: {driver: oracle}")
	wantExamined(t, doctor(t, s, false), "configuration", "failed", "database.driver")
	if err := os.WriteFile(path, []byte(strings.Repeat("junk", 1000)), 0o600); err != nil {
		t.Fatal(err)
	}
	write("")
	wantExamined(t, doctor(t, s, false), "configuration", "failed", "is a file of another kind")
}

// TestDoctor_AsksAServiceElsewhere: with only its address and a key.
func TestDoctor_AsksAServiceElsewhere(t *testing.T) {
	now := time.Now()
	over := parts.NewAuthority(t).IssueFor(t.TempDir(), now.Add(-48*time.Hour), now.Add(-time.Minute), "localhost")
	s := service(t, fmt.Sprintf("grpc: {tls: {cert_file: %q, key_file: %q}}", over.CertFile, over.KeyFile))
	cmd := s.Command("doctor", "-o", "json", "--server", "http://"+s.Admin, "--token-file", filepath.Join(s.DataDir, "admin.key"))
	cmd.Env = os.Environ()
	out, err := cmd.Output()
	var results []examined
	if jsonErr := json.Unmarshal(out, &results); jsonErr != nil || err == nil {
		t.Fatalf("%v, %v: %s", jsonErr, err, out)
	}
	wantExamined(t, results, "service", "ok", "serving")
	wantExamined(t, results, "service: certificate_invalid (grpc.tls.cert_file)", "failed", "ended at")
	s.Stop()
}
