package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"extauthz/e2e/parts"
)

// TestAdminRecover_OnBothDatabases runs the command while the service runs and while it
// is stopped, with peppers, and with a configuration whose other parts are faulty. Before
// that, the last administrator can't be revoked.
func TestAdminRecover_OnBothDatabases(t *testing.T) {
	for _, driver := range []string{"sqlite", "postgres"} {
		t.Run(driver, func(t *testing.T) {
			if testing.Short() {
				t.Skip("builds the binary, and needs Postgres")
			}
			folder := t.TempDir()
			pepper := filepath.Join(folder, "pepper")
			if err := os.WriteFile(pepper, []byte(strings.Repeat("p", 32)), 0o600); err != nil {
				t.Fatal(err)
			}
			configuration := fmt.Sprintf("keys: {pepper_files: [%q], require_pepper: true}\n", pepper)
			if driver == "postgres" {
				configuration += fmt.Sprintf("admin: {bootstrap_key_file: /none/at/all}\ndatabase: {driver: postgres, dsn: %q}\n", parts.StartPostgres(t).NewDatabase(t))
			}
			s := parts.StartService(t, configuration)
			if driver == "postgres" && !strings.Contains(s.Log(), "extauthz admin recover") {
				t.Error("the log does not name the way out")
			}
			recovered := func(name string, more ...string) string {
				t.Helper()
				file := filepath.Join(folder, name)
				s.Must(append([]string{"admin", "recover", "--key-file", file}, more...)...)
				if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
					t.Fatalf("%v, %v", info, err)
				}
				return file
			}
			works := func(file string) error {
				_, errOut, err := s.CLI("keys", "list", "--token-file", file)
				if err != nil {
					return errors.New(errOut)
				}
				return nil
			}
			first := recovered("first.key")
			eventually(t, func() error { return works(first) })
			var made struct {
				Key, Administrator, Prefix string
				Removed                    []string
			}
			if err := json.Unmarshal([]byte(s.Must("admin", "recover", "--revoke-others", "-o", "json")), &made); err != nil || made.Key == "" || len(made.Removed) == 0 {
				t.Fatalf("%+v, %v", made.Removed, err)
			}
			second := filepath.Join(folder, "second.key")
			if err := os.WriteFile(second, []byte(made.Key), 0o600); err != nil {
				t.Fatal(err)
			}
			eventually(t, func() error { return works(second) })
			eventually(t, func() error { // within the lease
				if err := works(first); err == nil {
					return errors.New("the first key works on")
				}
				return nil
			})
			for _, end := range [][]string{{"admins", "remove", made.Administrator}, {"admins", "disable", made.Administrator}} {
				if _, errOut, err := s.CLI(append(end, "--token-file", second)...); err == nil || !strings.Contains(errOut, "no working administrator would be left") {
					t.Errorf("%v: %v: %s", end, err, errOut)
				}
			}
			if out := s.Must("audit", "--token-file", second); strings.Count(out, "admin recover") < 3 {
				t.Errorf("audit: %s", out)
			}
			if _, errOut, err := s.CLI("admin", "recover", "--key-file", first); err == nil || !strings.Contains(errOut, "first.key") {
				t.Errorf("a file that is there: %v: %s", err, errOut)
			}
			s.Stop()
			broken := []byte(configuration + "grpc: {tls: {cert_file: /none}}\nroutes: [{match: x}]\n")
			if err := os.WriteFile(s.Configuration, broken, 0o600); err != nil {
				t.Fatal(err)
			}
			third := recovered("third.key")
			if err := os.WriteFile(s.Configuration, []byte(configuration), 0o600); err != nil {
				t.Fatal(err)
			}
			s.Restart()
			if err := errors.Join(works(second), works(third)); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestAdminRecover_NeedsTheDatabase: the command does not create one.
func TestAdminRecover_NeedsTheDatabase(t *testing.T) {
	s := service(t, ``)
	for configuration, want := range map[string]string{
		`database: {dsn: /none/at/all.db}`:                                                  "no such file",
		`database: {driver: postgres, dsn: "postgres://u@127.0.0.1:1/d?connect_timeout=2"}`: "database",
		fmt.Sprintf("data_dir: %q\nkeys: {pepper_files: [/none]}", t.TempDir()):             "/none can't be read",
	} {
		file, key := filepath.Join(t.TempDir(), "c.yaml"), filepath.Join(t.TempDir(), "key")
		if err := os.WriteFile(file, []byte(configuration), 0o600); err != nil {
			t.Fatal(err)
		}
		cmd := s.Command("admin", "recover", "--key-file", key, "--config", file)
		out, err := cmd.CombinedOutput()
		if err == nil || !strings.Contains(string(out), want) || strings.Count(strings.TrimSpace(string(out)), "\n") > 0 {
			t.Errorf("%s: %v: %s", configuration, err, out)
		}
		if _, err := os.Stat(key); err == nil {
			t.Errorf("%s: it left a key", configuration)
		}
	}
}
