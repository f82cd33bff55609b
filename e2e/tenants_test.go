package e2e

import (
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib"

	"extauthz/e2e/parts"
)

// as returns the command line with another administrator's key.
func (s *stack) as(t *testing.T, k parts.Key) func(args ...string) (said string, err error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(file, []byte(k.Key), 0o600); err != nil {
		t.Fatal(err)
	}
	return func(args ...string) (string, error) {
		out, errOut, err := s.CLI(append([]string{"--token-file", file}, args...)...)
		return out + errOut, err
	}
}

// TestShadow_OfAKeyStaysWithinItsSettersGrants: with shadow mode an administrator for
// orders gets no other access, and within its grants sees refusals reported.
func TestShadow_OfAKeyStaysWithinItsSettersGrants(t *testing.T) {
	onEach(t, func(t *testing.T, version string) {
		s := newStack(t, version, "")
		administrator := s.administrator(t, "extauthz/keys:* extauthz/shadow:update", "--grant-scope", "orders:*", "--grant-project", "*")
		cli := s.as(t, administrator)
		eventually(t, func() error {
			_, err := cli("keys", "list")
			return err
		})
		key := "x-api-key: " + administrator.Key

		if said, err := cli("keys", "update", administrator.Prefix, "--shadow-until", "1h"); err == nil || !strings.Contains(said, "administrator's key") {
			t.Errorf("its own key: %v %s", err, said)
		}
		s.denied(s.ask("DELETE", "/payments/1", key), 403, "scope_missing")

		other := s.NewKey("--scope", "orders:read")
		if said, err := cli("keys", "update", other.ID, "--shadow-until", "1h"); err != nil {
			t.Fatalf("%v %s", err, said)
		}
		otherKey := "x-api-key: " + other.Key
		eventually(t, func() error { // the first look-up may take longer than a gateway waits
			if a := s.ask("GET", "/orders/1", otherKey); !a.reached {
				return errors.New(a.body)
			}
			return nil
		})
		s.shadowed(s.ask("DELETE", "/orders/1", otherKey), "scope_missing")
		for _, request := range [][2]string{{"DELETE", "/payments/1"}, {"GET", "/payments"}, {"GET", "/extauthz/keys"}, {"GET", "/ordersx"}} {
			if a := s.ask(request[0], request[1], otherKey); a.reached || a.status != 403 {
				t.Errorf("%v: %d, reached %v", request, a.status, a.reached)
			}
		}
		for _, until := range []string{"2h", "89h", "2000h"} {
			if said, err := cli("keys", "update", other.ID, "--shadow-until", until); err == nil || !strings.Contains(said, "first set") {
				t.Errorf("moved by %s: %v %s", until, err, said)
			}
		}
		s.Must("keys", "update", other.ID, "--shadow-until", "never")
		s.denied(s.ask("DELETE", "/orders/1", otherKey), 403, "scope_missing")
		if said, err := cli("keys", "update", other.ID, "--shadow-until", "3h"); err == nil {
			t.Errorf("ended and set again: %s", said)
		}
		if said, err := cli("keys", "update", other.ID, "--shadow-until", "30m"); err != nil || !strings.Contains(said, "never after") || !strings.Contains(said, "orders:*") {
			t.Errorf("an earlier end: %v %s", err, said)
		}
		if audit := s.Must("audit", "--key", other.ID); !strings.Contains(audit, "shadow_end") || !strings.Contains(audit, "shadow_scopes") {
			t.Errorf("the audit has %s", audit)
		}
	})
}

// administrator makes one with permissions of its own, and returns its key.
func (s *stack) administrator(t *testing.T, permissions string, flags ...string) parts.Key {
	t.Helper()
	role := []string{"admins", "roles", "create", "of-the-test"}
	for _, permission := range strings.Fields(permissions) {
		role = append(role, "--permission", permission)
	}
	s.Must(role...)
	var made struct {
		Key  string
		Keys []parts.Key
	}
	if err := json.Unmarshal([]byte(s.Must(append([]string{"admins", "create", "of-the-test", "--role", "of-the-test", "-o", "json"}, flags...)...)), &made); err != nil || len(made.Keys) != 1 {
		t.Fatalf("%v: %+v", err, made.Keys)
	}
	made.Keys[0].Key = made.Key
	return made.Keys[0]
}

// TestProject_IsPartOfTheIdentity: the upstream receives the project, a rule can require
// it, and no client can forge it.
func TestProject_IsPartOfTheIdentity(t *testing.T) {
	onEach(t, func(t *testing.T, version string) {
		s := newStack(t, version, `
routes:
  - {match: "/acme/", resource: acme, project: acme}
  - {match: "/healthz", anonymous: true}
default_route: map`)
		acme, other, none := s.NewKey("--scope", "*:*", "--project", "acme"), s.NewKey("--scope", "*:*", "--project", "other"), s.NewKey("--scope", "*:*")
		a := s.ask("GET", "/acme/1", "x-api-key: "+acme.Key, "x-auth-project: root")
		s.allowed(a)
		if got := a.lines("x-auth-project"); len(got) != 1 || got[0] != "acme" {
			t.Errorf("it arrived as %q", got)
		}
		for _, k := range []parts.Key{other, none} {
			s.denied(s.ask("GET", "/acme/1", "x-api-key: "+k.Key), 403, "project_refused")
		}
		for _, headers := range [][]string{{"x-auth-project: root", "x-api-key: " + none.Key}, {"x-auth-project: root"}} {
			path := "/orders"
			if len(headers) == 1 {
				path = "/healthz"
			}
			if a := s.ask("GET", path, headers...); !a.reached || strings.Contains(a.body, "x-auth-project") {
				t.Errorf("%s: reached %v, %s", path, a.reached, a.body)
			}
		}
		if got := counter(t, s.Service, "extauthz_decisions_total", `decision="deny"`, `reason="project_refused"`); got != 2 {
			t.Errorf("%v were counted", got)
		}
		for _, args := range [][]string{{"routes", "list"}, {"routes", "match", "GET", "/acme/1"}} {
			if said := s.Must(args...); !strings.Contains(said, "of the project acme") {
				t.Errorf("%v: %s", args, said)
			}
		}
		// A key's shadow mode does not open another project to it; the rule's own shadow
		// mode does.
		s.Must("keys", "update", other.ID, "--shadow-until", "1h")
		s.denied(s.ask("GET", "/acme/1", "x-api-key: "+other.Key), 403, "project_refused")
		until := time.Now().Add(time.Hour).Format(time.RFC3339)
		if err := os.WriteFile(s.Configuration, []byte(`routes: [{match: "/acme/", resource: acme, project: acme, mode: shadow, until: `+until+`}]`), 0o600); err != nil {
			t.Fatal(err)
		}
		s.Signal(syscall.SIGHUP)
		eventually(t, func() error {
			if a := s.ask("GET", "/acme/1", "x-api-key: "+other.Key); !a.reached {
				return errors.New(a.body)
			}
			return nil
		})
		s.shadowed(s.ask("GET", "/acme/1", "x-api-key: "+other.Key), "project_refused")
	})
}

func execute(t *testing.T, dsn, statement string, args ...any) {
	t.Helper()
	db, err := sql.Open("pgx", dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	if _, err := db.Exec(statement, args...); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}

// TestVersions_SetBackKeepNoKeyAlive: the sequence is set back, as by a cut-over of
// logical replication. Then a key is disabled on one replica.
func TestVersions_SetBackKeepNoKeyAlive(t *testing.T) {
	var dsn string
	a, b := twoReplicas(t, func(d string) string {
		dsn = d
		return fmt.Sprintf("database: {driver: postgres, dsn: %q}", d)
	})
	for name, statement := range map[string]string{
		"by the API":     "",
		"by SQL":         "UPDATE api_keys SET is_active = false WHERE id = $1",
		"SQL and a role": "UPDATE api_keys SET revoked_at = now() WHERE id = $1",
	} {
		t.Run(name, func(t *testing.T) {
			k, checkA, checkB := knownToBoth(t, a, b)
			for i := range 3 {
				a.Must("keys", "update", k.ID, "--name", fmt.Sprint("name", i))
			}
			for _, check := range []func(string, string) string{checkA, checkB} {
				if got := check("/orders", k.Key); got != "granted" {
					t.Fatal(got)
				}
			}
			execute(t, dsn, "SELECT setval('change_version', 1)")
			if statement == "" {
				a.Must("keys", "disable", k.ID)
			} else {
				execute(t, dsn, statement, k.ID)
			}
			changed := time.Now()
			for name, check := range map[string]func(string, string) string{"a": checkA, "b": checkB} {
				eventually(t, func() error {
					if got := check("/orders", k.Key); got != "key_disabled" && got != "key_revoked" {
						return fmt.Errorf("replica %s: %s", name, got)
					}
					return nil
				})
			}
			if took := time.Since(changed); took > 3*time.Second { // the bound is one second; the rest is for a busy machine
				t.Errorf("it took %v", took)
			}
			for name, s := range map[string]*parts.Service{"a": a, "b": b} {
				eventually(t, func() error {
					if !strings.Contains(s.Log(), "versions went back from") {
						return errors.New("the log of " + name + " does not say so")
					}
					return nil
				})
				saysSoon(t, s, `"state":"serving"`)
			}
		})
	}
	// The sequence is set back without any later change.
	execute(t, dsn, "SELECT setval('change_version', 1)")
	eventually(t, func() error {
		out, errOut, err := b.CLI("cache", "audit", "-o", "json")
		if err != nil || strings.Count(out, "versions went back") < 4 {
			return fmt.Errorf("it was not seen: %s%s", out, errOut)
		}
		return nil
	})
	// The sequence is set back while no replica runs.
	a.Stop()
	b.Stop()
	execute(t, dsn, "SELECT setval('change_version', 1)")
	a.Restart()
	if !strings.Contains(a.Log(), "the database's versions had gone back") {
		t.Error("a start did not see it")
	}
	a.Stop()
}

// TestSubjects_ThatExistAlreadyArriveWholeAndAreReported: ids that are refused today were
// written to the database by hand.
func TestSubjects_ThatExistAlreadyArriveWholeAndAreReported(t *testing.T) {
	if testing.Short() {
		t.Skip("needs Postgres")
	}
	var dsn string
	replicas, _ := replicasOn(t, parts.StartPostgres(t), 1, func(d string) string {
		dsn = d
		return fmt.Sprintf("database: {driver: postgres, dsn: %q}", d)
	})
	s := replicas[0]
	if said := s.Must("keys", "check"); !strings.Contains(said, "as they would be stored today") {
		t.Errorf("got %s", said)
	}
	check := checker(t, s)
	for user, arrives := range map[string]string{
		" alice": "%20alice", "alice ": "alice%20", "  a b  ": "%20 a b %20", "cafe\u0301": "cafe%CC%81", "..": "..", "al\u200bice": "al%E2%80%8Bice", " ": "%20",
	} {
		k := s.NewKey("--scope", "orders:read")
		execute(t, dsn, "UPDATE api_keys SET user_id = $1 WHERE id = $2", user, k.ID)
		eventually(t, func() error {
			got := ""
			for _, h := range check("/orders", k.Key).GetOkResponse().GetHeaders() {
				if h.GetHeader().GetKey() == "x-auth-user-id" {
					got = h.GetHeader().GetValue() + string(h.GetHeader().GetRawValue())
				}
			}
			if got != arrives {
				return fmt.Errorf("%q arrives as %q", user, got)
			}
			return nil
		})
		out, errOut, err := s.CLI("keys", "check")
		if err == nil || !strings.Contains(out, k.Prefix) || !strings.Contains(out, "extauthz keys revoke "+k.Prefix) || !strings.Contains(errOut, "see above") {
			t.Errorf("%q: %v %s%s", user, err, out, errOut)
		}
		if out := s.Must("keys", "list", "--user", user); !strings.Contains(out, k.Prefix) {
			t.Errorf("%q is not in %s", user, out)
		}
		if user == ".." {
			s.Must("keys", "revoke", k.Prefix) // no path can name the user
		} else if out := s.Must("keys", "revoke", "--user", user); !strings.Contains(out, k.Prefix) {
			t.Errorf("%q was not revoked: %s", user, out)
		}
	}
	if said := s.Must("keys", "check"); !strings.Contains(said, "as they would be stored today") {
		t.Errorf("revoked keys are reported: %s", said)
	}
	for _, user := range []string{"a/b", "a%b", "a?b=c", "a b", "caf\u00e9", "#"} {
		k := s.NewKey("--user", user, "--scope", "orders:read")
		if out := s.Must("keys", "revoke", "--user", user); !strings.Contains(out, k.Prefix) {
			t.Errorf("%q was not revoked: %s", user, out)
		}
	}
}

// TestPepper_RequiredRefusesADigestThatWasWrittenToTheDatabase: and an operator finds it
// in log and metrics.
func TestPepper_RequiredRefusesADigestThatWasWrittenToTheDatabase(t *testing.T) {
	if testing.Short() {
		t.Skip("needs Postgres")
	}
	pepper := filepath.Join(t.TempDir(), "pepper")
	if err := os.WriteFile(pepper, []byte(strings.Repeat("p", 48)), 0o600); err != nil {
		t.Fatal(err)
	}
	var dsn string
	configuration := func(require bool) string {
		return fmt.Sprintf("database: {driver: postgres, dsn: %q}\nkeys: {pepper_files: [%q], require_pepper: %v}", dsn, pepper, require)
	}
	replicas, _ := replicasOn(t, parts.StartPostgres(t), 1, func(d string) string { dsn = d; return configuration(false) })
	s := replicas[0]
	check := reasonOf(checker(t, s))
	mine, theirs := s.NewKey("--scope", "orders:read"), s.NewKey("--scope", "orders:read")
	execute(t, dsn, "UPDATE api_keys SET key_hash = encode(sha256($1::bytea), 'hex'), hash_alg = 'sha256', pepper_id = '' WHERE id = $2", []byte(mine.Key), mine.ID)
	execute(t, dsn, "UPDATE api_keys SET key_hash = (SELECT key_hash FROM api_keys WHERE id = $1) WHERE id = $2", theirs.ID, s.NewKey().ID)
	becomes := func(reason string) {
		t.Helper()
		eventually(t, func() error {
			if got := check("/orders", mine.Key); got != reason {
				return errors.New(got + " instead of " + reason)
			}
			return nil
		})
	}
	becomes("granted")
	administration, err := os.ReadFile(s.Configuration)
	if err != nil {
		t.Fatal(err)
	}
	strict := strings.Replace(string(administration), "require_pepper: false", "require_pepper: true", 1)
	if err := os.WriteFile(s.Configuration, []byte(strict), 0o600); err != nil {
		t.Fatal(err)
	}
	s.Signal(syscall.SIGHUP)
	becomes("wrong_secret")
	if got := check("/orders", theirs.Key); got != "granted" {
		t.Errorf("a key of the service's own: %s", got)
	}
	if got := counter(t, s, "extauthz_unpeppered_refused_total"); got == 0 {
		t.Error("it was not counted")
	}
	if log := s.Log(); !strings.Contains(log, "keys.require_pepper") || !strings.Contains(log, mine.Prefix) {
		t.Error("it was not logged")
	}
	s.Stop()
	s.Restart()
	eventually(t, func() error {
		if counter(t, s, "extauthz_keys_unpeppered") != 1 || !strings.Contains(s.Log(), "refuses keys that are stored") {
			return errors.New("a start does not say how many are refused")
		}
		return nil
	})
	s.Stop()
	if _, errOut, err := s.CLI("config", "check", "--config", noPepper(t)); err == nil || !strings.Contains(errOut, "keys.require_pepper") {
		t.Errorf("without a pepper: %v %s", err, errOut)
	}
}

func noPepper(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "extauthz.yaml")
	if err := os.WriteFile(file, []byte("keys: {require_pepper: true}"), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}
