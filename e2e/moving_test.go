package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"extauthz/e2e/parts"
)

// TestMigrateCopy_DecisionsAreTheSameAfterAMove copies from SQLite to Postgres and back,
// with keys in every state.
func TestMigrateCopy_DecisionsAreTheSameAfterAMove(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the binary")
	}
	first := parts.StartService(t, "")
	first.Must("roles", "create", "reader", "--scope", "orders:read")
	keys := map[string]string{
		"live":    first.NewKey("--scope", "orders:read").Key,
		"by role": first.NewKey("--role", "reader").Key,
		"without": first.NewKey("--scope", "invoices:read").Key,
		"rated":   first.NewKey("--scope", "orders:read", "--rate", "1000/s", "--meta", "team=Köln ☃").Key,
		"network": first.NewKey("--scope", "orders:read", "--allow-cidr", "192.0.2.0/24").Key,
		"expiry":  first.NewKey("--scope", "orders:read", "--expires", "1h").Key,
	}
	for state, end := range map[string][]string{"revoked": {"keys", "revoke"}, "disabled": {"keys", "disable"}, "rotated": {"keys", "rotate", "--grace", "24h"}, "ended": {"keys", "rotate", "--grace", "0s"}} {
		k := first.NewKey("--scope", "orders:read")
		keys[state] = k.Key
		first.Must(append(end, k.ID)...)
	}
	administrator := localAdministrator(t, first)
	decisions := func(s *parts.Service) map[string]string {
		t.Helper()
		why, got := reasonOf(checker(t, s)), map[string]string{}
		for state, key := range keys {
			for _, path := range []string{"/orders", "/invoices"} {
				got[state+" "+path] = why(path, key)
			}
		}
		return got
	}
	want := decisions(first)
	for _, state := range []string{"live", "by role", "rated", "expiry", "rotated"} {
		if want[state+" /orders"] != "granted" {
			t.Errorf("%s: %s", state, want[state+" /orders"])
		}
	}
	first.Stop() // its usage is written

	postgres := parts.StartPostgres(t)
	dsn := postgres.NewDatabase(t)
	withPassword := strings.Replace(dsn, "postgres@", "postgres:geheim@", 1)
	file := filepath.Join(t.TempDir(), "to.dsn")
	if err := os.WriteFile(file, []byte(withPassword+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	sqlite := filepath.Join(first.DataDir, "extauthz.db")
	move := func(args ...string) {
		t.Helper()
		out, errOut, err := first.CLI(append([]string{"migrate", "copy"}, args...)...)
		if err != nil || strings.Contains(out, "DIFFERS") || strings.Count(out, "same") != 8 || strings.Contains(out+errOut, "geheim") {
			t.Fatalf("migrate copy: %v: %s%s", err, out, errOut)
		}
	}
	move("--from", sqlite, "--to-file", file)
	move("--to-file", file, "--verify-only") // from the database in the configuration
	t.Setenv("EXTAUTHZ_TOKEN", administrator)
	second := parts.StartService(t, onPostgres(dsn))
	same := func(s *parts.Service) {
		t.Helper()
		for what, reason := range decisions(s) {
			if reason != want[what] {
				t.Errorf("%s: %s, before the move %s", what, reason, want[what])
			}
		}
	}
	same(second)
	if out := second.Must("usage", "-o", "json"); !strings.Contains(out, `"count": 2`) && !strings.Contains(out, `"count": 1`) {
		t.Errorf("usage did not come along: %s", out)
	}
	if out := second.Must("audit", "-o", "json"); !strings.Contains(out, "key.rotate") || !strings.Contains(out, "role.create") {
		t.Errorf("the audit did not come along: %s", out)
	}
	if _, errOut, err := first.CLI("migrate", "copy", "--from", sqlite, "--to-file", file); err == nil || !strings.Contains(errOut, "it holds rows that are not of a copy") {
		t.Errorf("a database that is served was written to: %v: %s", err, errOut)
	}
	second.Stop()

	back := filepath.Join(t.TempDir(), "back.db")
	move("--from-file", file, "--to", back)
	third := parts.StartService(t, fmt.Sprintf("database: {dsn: %q}\n", back))
	same(third)
}

// TestServe_RefusesAnUnfinishedCopy: with such a copy it would know only a part of the
// keys.
func TestServe_RefusesAnUnfinishedCopy(t *testing.T) {
	databases(t, "", func(t *testing.T, s *parts.Service, run func(string, ...any)) {
		s.Stop()
		run("CREATE TABLE extauthz_copy (id INTEGER PRIMARY KEY, finished BOOLEAN)")
		run("INSERT INTO extauthz_copy VALUES (1, FALSE)")
		if _, errOut, err := s.CLI("serve"); err == nil || !strings.Contains(errOut, "unfinished copy") {
			t.Errorf("got %v: %s", err, errOut)
		}
		run("UPDATE extauthz_copy SET finished = TRUE")
		s.Restart()
	})
}
