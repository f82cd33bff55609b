package e2e

import (
	"database/sql"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	_ "github.com/libtnb/sqlite" // the driver "sqlite"

	"extauthz/e2e/parts"
)

// databases runs a test with a service on each database; run executes SQL there.
func databases(t *testing.T, configuration string, test func(t *testing.T, s *parts.Service, run func(sql string, args ...any))) {
	if testing.Short() {
		t.Skip("builds the binary")
	}
	connected := func(t *testing.T, driver, dsn string) func(string, ...any) {
		db, err := sql.Open(driver, dsn)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = db.Close() })
		return func(query string, args ...any) {
			t.Helper()
			if _, err := db.ExecContext(t.Context(), query, args...); err != nil {
				t.Fatalf("%s: %v", query, err)
			}
		}
	}
	t.Run("sqlite", func(t *testing.T) {
		s := parts.StartService(t, configuration)
		test(t, s, connected(t, "sqlite", filepath.Join(s.DataDir, "extauthz.db")+"?_pragma=busy_timeout(5000)"))
	})
	t.Run("postgres", func(t *testing.T) {
		postgres := parts.StartPostgres(t)
		var dsn string
		replicas, administrator := replicasOn(t, postgres, 1, func(database string) string {
			dsn = database
			return onPostgres(database) + configuration
		})
		t.Setenv("EXTAUTHZ_TOKEN", administrator)
		test(t, replicas[0], connected(t, "pgx", dsn))
	})
}

// TestPurge_CommandCountsAndDeletes: the command deletes what the dry run printed, and
// deleted keys are unknown from then on.
func TestPurge_CommandCountsAndDeletes(t *testing.T) {
	databases(t, "", func(t *testing.T, s *parts.Service, run func(string, ...any)) {
		old, lately, live := s.NewKey(), s.NewKey(), s.NewKey()
		s.Must("keys", "revoke", "--yes", old.ID, lately.ID)
		run("UPDATE api_keys SET revoked_at = '" + at(-100) + "' WHERE id = '" + old.ID + "'")
		run("UPDATE audit_log SET at = '" + at(-800) + "' WHERE key_id = '" + live.ID + "'")
		counts := func(flags ...string) (got struct {
			Revoked int64 `json:"revoked_keys"`
			Expired int64 `json:"expired_keys"`
			Audit   int64 `json:"audit_entries"`
		}) {
			t.Helper()
			out := s.Must(append([]string{"purge", "--yes", "-o", "json", "--revoked-for", "90d", "--expired-for", "1h", "--audit-older-than", "730d"}, flags...)...)
			if err := json.Unmarshal([]byte(out), &got); err != nil {
				t.Fatal(err)
			}
			return got
		}
		dry := counts("--dry-run")
		if again := counts("--dry-run"); again != dry || dry.Revoked != 1 || dry.Expired != 0 || dry.Audit != 1 {
			t.Errorf("dry runs counted %+v and %+v", dry, again)
		}
		if ran := counts(); ran != dry {
			t.Errorf("the dry run counted %+v, the run %+v", dry, ran)
		}
		if left := counts(); left.Revoked+left.Expired+left.Audit != 0 {
			t.Errorf("left were %+v", left)
		}
		why := reasonOf(checker(t, s))
		eventually(t, func() error {
			if got := why("/orders", old.Key); got != "unknown_key" && got != "invalid_key" {
				return fmt.Errorf("the deleted key is %s", got)
			}
			return nil
		})
		if got := why("/orders", lately.Key); got != "key_revoked" {
			t.Errorf("the key that was revoked lately is %s", got)
		}
		if listed := s.Must("audit", "-o", "json"); strings.Count(listed, `"action": "purge"`) != 2 {
			t.Errorf("the audit does not have two transactions: %s", listed)
		}
		if _, errOut, err := s.CLI("purge", "--revoked-for", "59m"); err == nil || !strings.Contains(errOut, "revoked_for") {
			t.Errorf("59 minutes: %v: %s", err, errOut)
		}
	})
}

// at returns the instant a number of days from now, in a form that both databases read.
func at(days int) string {
	return time.Now().UTC().AddDate(0, 0, days).Format("2006-01-02 15:04:05+00:00")
}

// TestRetention_RunsByItself: it deletes what the settings determine, reports it in one
// log line and in metrics, and keeps the rest.
func TestRetention_RunsByItself(t *testing.T) {
	databases(t, "retention: {revoked_keys: 1h, expired_keys: 2160h, interval: 1s}\n", func(t *testing.T, s *parts.Service, run func(string, ...any)) {
		old, lately := s.NewKey(), s.NewKey()
		s.Must("keys", "revoke", "--yes", old.ID, lately.ID)
		run("UPDATE api_keys SET revoked_at = '" + at(-2) + "' WHERE id = '" + old.ID + "'")
		run("INSERT INTO idempotency_keys (principal, key, fingerprint, key_id, at) VALUES ('p', 'k', 'f', 'i', '" + at(-2) + "')")
		eventually(t, func() error {
			if list := s.Must("keys", "list", "-o", "json"); strings.Contains(list, old.ID) {
				return fmt.Errorf("the old key is still there")
			}
			return nil
		})
		if list := s.Must("keys", "list", "-o", "json"); !strings.Contains(list, lately.ID) {
			t.Error("the other key is gone")
		}
		eventually(t, func() error {
			if log := s.Log(); strings.Count(log, "rows that have no more use were deleted") == 0 || !strings.Contains(log, `"revoked_keys":1`) {
				return fmt.Errorf("the log lacks the run: %s", log)
			}
			res, err := http.Get("http://" + s.Ops + "/metrics")
			if err != nil {
				return err
			}
			defer func() { _ = res.Body.Close() }()
			metrics, err := io.ReadAll(res.Body)
			for _, want := range []string{`extauthz_retention_deleted_total{kind="revoked_key"} 1`, `extauthz_retention_deleted_total{kind="idempotency_key"} 1`, `extauthz_retention_runs_total{result="failed"} 0`} {
				if !strings.Contains(string(metrics), want) {
					return fmt.Errorf("no metric %s", want)
				}
			}
			return err
		})
		if audit := s.Must("audit", "-o", "json"); !strings.Contains(audit, `"actor": "retention"`) {
			t.Error("the audit lacks the run")
		}
	})
}
