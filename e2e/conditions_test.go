package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"extauthz/e2e/parts"
)

// condition is one entry of /readyz.
type condition struct{ Name, Subject, Severity, Text, Remedy string }

func conditionsOf(t *testing.T, s *parts.Service) []condition {
	t.Helper()
	_, body := opsAnswer(t, "http://"+s.Ops+"/readyz")
	var ready struct{ Conditions []condition }
	if err := json.Unmarshal([]byte(body), &ready); err != nil {
		t.Fatalf("%v: %s", err, body)
	}
	return ready.Conditions
}

// showsSoon waits until /readyz lists a condition about a subject whose text contains
// word, the metric is 1, and the log has it once.
func showsSoon(t *testing.T, s *parts.Service, name, subject, word string) {
	t.Helper()
	soon(t, func() error {
		for _, c := range conditionsOf(t, s) {
			if c.Name == name && c.Subject == subject && strings.Contains(c.Text, word) && c.Remedy != "" {
				return nil
			}
		}
		return fmt.Errorf("no condition %s of %q with %q: %v", name, subject, word, conditionsOf(t, s))
	})
	if _, metrics := opsAnswer(t, "http://"+s.Ops+"/metrics"); !strings.Contains(metrics, fmt.Sprintf(`extauthz_condition{name=%q,severity="`, name)) ||
		strings.Contains(metrics, fmt.Sprintf("extauthz_condition{name=%q,severity=\"critical\"} 0", name)) || strings.Contains(metrics, fmt.Sprintf("extauthz_condition{name=%q,severity=\"warning\"} 0", name)) {
		t.Errorf("the metric does not report %s", name)
	}
	if n := logged(s, "condition began", name, subject); n != 1 {
		t.Errorf("%s is logged %d times when it begins", name, n)
	}
}

// endsSoon waits until /readyz no longer lists a condition, and the log has its end once.
func endsSoon(t *testing.T, s *parts.Service, name, subject string) {
	t.Helper()
	soon(t, func() error {
		for _, c := range conditionsOf(t, s) {
			if c.Name == name && c.Subject == subject {
				return fmt.Errorf("condition %s is still there: %s", name, c.Text)
			}
		}
		return nil
	})
	if n := logged(s, "condition ended", name, subject); n != 1 {
		t.Errorf("%s is logged %d times when it ends", name, n)
	}
}

func logged(s *parts.Service, what, name, subject string) (n int) {
	for line := range strings.Lines(s.Log()) {
		if strings.Contains(line, what) && strings.Contains(line, fmt.Sprintf(`"condition":%q`, name)) && (subject == "" || strings.Contains(line, fmt.Sprintf(`"subject":%q`, subject))) {
			n++
		}
	}
	return n
}

// soon calls f until it succeeds, for longer than any event here takes.
func soon(t *testing.T, f func() error) {
	t.Helper()
	var err error
	for deadline := time.Now().Add(40 * time.Second); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		if err = f(); err == nil {
			return
		}
	}
	t.Error(err)
}

// TestConditions_Certificates tests each listener's certificate and authority, at the
// start and when files are replaced.
func TestConditions_Certificates(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the binary")
	}
	now := time.Now()
	authority := parts.NewAuthority(t)
	old := parts.NewAuthorityFor(t, now.Add(-48*time.Hour), now.Add(-time.Hour))
	over := authority.IssueFor(t.TempDir(), now.Add(-48*time.Hour), now.Add(-time.Minute), "localhost")
	early := authority.IssueFor(t.TempDir(), now.Add(time.Hour), now.Add(48*time.Hour), "localhost")
	ending := authority.IssueFor(t.TempDir(), now.Add(-100*time.Hour), now.Add(10*time.Hour), "localhost")
	good := authority.Issue(t.TempDir(), "localhost")
	listener := func(c parts.Certificates, ca string) string {
		return fmt.Sprintf("tls: {cert_file: %q, key_file: %q, client_ca_file: %q}", c.CertFile, c.KeyFile, ca)
	}
	s := parts.StartService(t, fmt.Sprintf("grpc: {%s}\nhttp: {%s}\nadmin: {tls: {cert_file: %q, key_file: %q}}",
		listener(over, authority.CAFile), listener(early, old.CAFile), ending.CertFile, ending.KeyFile))
	showsSoon(t, s, "certificate_invalid", "grpc.tls.cert_file", "ended at")
	showsSoon(t, s, "certificate_invalid", "http.tls.cert_file", "valid only from")
	showsSoon(t, s, "certificate_expiring", "admin.tls.cert_file", "ends at")
	showsSoon(t, s, "authority_invalid", "http.tls.client_ca_file", "ended at")
	if stdout, stderr, err := s.CLI("config", "check"); err != nil || strings.Count(stderr, "the certificate of") != 4 {
		t.Errorf("config check: %v, %s%s", err, stdout, stderr)
	}
	for _, move := range [][2]string{{good.CertFile, over.CertFile}, {good.KeyFile, over.KeyFile}} {
		if err := os.Rename(move[0], move[1]); err != nil {
			t.Fatal(err)
		}
	}
	endsSoon(t, s, "certificate_invalid", "grpc.tls.cert_file")
	if err := os.WriteFile(over.CertFile, []byte("junk"), 0o600); err != nil {
		t.Fatal(err)
	}
	showsSoon(t, s, "certificate_refused", "grpc.tls", "tls:")
	s.Stop()
}

// TestConditions_PepperOfStoredKeysIsMissing: reported at the start and after a reload.
func TestConditions_PepperOfStoredKeysIsMissing(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the binary")
	}
	for _, driver := range []string{"sqlite", "postgres"} {
		t.Run(driver, func(t *testing.T) {
			database := ""
			if driver == "postgres" {
				file, _ := administratorFile(t)
				database = fmt.Sprintf("database: {driver: postgres, dsn: %q}\nadmin: {bootstrap_key_file: %q}\n", parts.StartPostgres(t).NewDatabase(t), file)
			}
			first, second := filepath.Join(t.TempDir(), "first"), filepath.Join(t.TempDir(), "second")
			for path, text := range map[string]string{first: strings.Repeat("0123456789abcdef", 4), second: strings.Repeat("fedcba9876543210", 4)} {
				if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			with := func(files ...string) string { return database + fmt.Sprintf("keys: {pepper_files: %q}", files) }
			s := parts.StartService(t, strings.ReplaceAll(with(first), `" "`, `", "`))
			if got := conditionsOf(t, s); len(got) != 0 {
				t.Errorf("at the start: %v", got)
			}
			s.Stop()
			if err := os.WriteFile(s.Configuration, []byte(with(second)), 0o600); err != nil {
				t.Fatal(err)
			}
			s.Restart()
			pepper := ""
			soon(t, func() error {
				for _, c := range conditionsOf(t, s) {
					if c.Name == "pepper_missing" && strings.Contains(c.Text, "1 keys were made with pepper") {
						pepper = c.Subject
						return nil
					}
				}
				return fmt.Errorf("not reported: %v", conditionsOf(t, s))
			})
			if err := os.WriteFile(s.Configuration, []byte(strings.ReplaceAll(with(second, first), `" "`, `", "`)), 0o600); err != nil {
				t.Fatal(err)
			}
			s.Signal(syscall.SIGHUP)
			endsSoon(t, s, "pepper_missing", pepper)
			s.Stop()
		})
	}
}
