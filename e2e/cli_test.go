package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/creack/pty"

	"extauthz/e2e/parts"
)

// statusOf returns a command's exit status.
func statusOf(err error) int {
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		return exit.ExitCode()
	}
	return -1
}

// atTerminal runs a command on a terminal with 80 columns, types an answer when the
// command asks, and returns what was on the screen.
func atTerminal(t *testing.T, cmd *exec.Cmd, answer string) (screen string, status int) {
	t.Helper()
	cmd.Env = append(cmd.Env, "TERM=xterm")
	terminal, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: 24, Cols: 80})
	if err != nil {
		t.Fatalf("no terminal can be opened: %v", err)
	}
	defer func() { _ = terminal.Close() }()
	var out bytes.Buffer
	part := make([]byte, 4096)
	for {
		n, err := terminal.Read(part) // returns EIO once the command has ended
		out.Write(part[:n])
		if err != nil {
			break
		}
		if answer != "" && strings.HasSuffix(out.String(), "[y/N] ") {
			if _, err := io.WriteString(terminal, answer); err != nil {
				t.Fatal(err)
			}
			answer = ""
		}
	}
	return strings.ReplaceAll(out.String(), "\r\n", "\n"), statusOf(cmd.Wait())
}

var sequences = regexp.MustCompile("\x1b\\[[0-9;]*[a-zA-Z]")

func TestCLI_TablesFitATerminal(t *testing.T) {
	s := service(t, "routes: [{match: 'GET api.example.com/v1/orders/{id}/positions/{position}/notes', resource: 'orders/{id}/positions/{position}', action: read}]")
	k := s.NewKey("--user", "a-person-with-a-long-address@example.com", "--name", "the laptop in the office", "--scope", "invoices/eu/archive:read", "--scope", "orders:read", "--expires", "30d")
	s.Must("roles", "create", "a-role-with-a-long-name-that-goes-on", "--scope", "invoices/eu/archive:read", "--scope", "orders:read", "--description", "what accounting needs to see of orders and invoices")
	s.Must("keys", "update", k.ID, "--rate", "100/s", "--scope", "orders:read", "--expires", "1d12h")
	for _, args := range [][]string{{"keys", "list"}, {"roles", "list"}, {"audit"}, {"usage"}, {"cache", "audit"}, {"routes", "list"}} {
		screen, status := atTerminal(t, s.Command(args...), "")
		if status != 0 || !strings.Contains(screen, "\x1b[1m") || strings.Count(screen, "\n") < 2 {
			t.Errorf("%v: %d, %q", args, status, screen)
		}
		for line := range strings.Lines(sequences.ReplaceAllString(screen, "")) {
			if n := utf8.RuneCountInString(strings.TrimRight(line, "\n")); n > 80 {
				t.Errorf("%v: %d columns: %s", args, n, line)
			}
		}
	}
	plain := s.Command("keys", "list")
	plain.Env = append(plain.Env, "NO_COLOR=1")
	if screen, _ := atTerminal(t, plain, ""); strings.Contains(screen, "\x1b") {
		t.Errorf("NO_COLOR: %q", screen)
	}
	if out := s.Must("keys", "list"); strings.Contains(out, "\x1b") || strings.Contains(out, "…") || !strings.Contains(out, "a-person-with-a-long-address@example.com") {
		t.Errorf("through a pipe: %q", out)
	}
	if out := s.Must("audit", "--since", "24h"); strings.Contains(out, "map[") || !strings.Contains(out, "rate=100/s") {
		t.Errorf("the audit is not readable:\n%s", out)
	}
	if out := s.Must("keys", "list", "--color", "always"); !strings.Contains(out, "\x1b[32mactive\x1b[0m") {
		t.Errorf("--color always: %q", out)
	}
}

func TestCLI_ListsAreOrderedAndLimited(t *testing.T) {
	s := service(t, ``)
	for i, user := range []string{"carol", "alice", "bob"} {
		s.NewKey("--user", user, "--expires", fmt.Sprint(10*(i+1), "d"))
	}
	users := func(flags ...string) (users []string) {
		t.Helper()
		var keys []struct {
			UserID string `json:"user_id"`
		}
		if err := json.Unmarshal([]byte(s.Must(append([]string{"keys", "list", "-o", "json"}, flags...)...)), &keys); err != nil {
			t.Fatal(err)
		}
		for _, k := range keys {
			users = append(users, k.UserID)
		}
		return users
	}
	for want, flags := range map[string][]string{
		"bob alice carol administrator": {}, "bob alice": {"--limit", "2"}, "administrator alice bob carol": {"--sort", "user"},
		"carol bob": {"--sort", "-user", "--limit", "2"}, "carol alice bob administrator": {"--sort", "expires"},
	} {
		if got := strings.Join(users(flags...), " "); got != want {
			t.Errorf("%v: %s, not %s", flags, got, want)
		}
	}
	prefixes := strings.Fields(s.Must("keys", "list", "-o", "name", "--limit", "2"))
	if len(prefixes) != 2 || !strings.Contains(s.Must("keys", "get", prefixes[0]), "bob") {
		t.Errorf("names: %v", prefixes)
	}
}

func TestCLI_AsksBeforeWhatCannotBeUndone(t *testing.T) {
	s := service(t, ``)
	s.Must("roles", "create", "reader", "--scope", "orders:read")
	for range 7 {
		s.NewKey("--role", "reader")
	}
	revoke := []string{"keys", "revoke", "--user", "alice"}
	if _, errOut, err := s.CLI(revoke...); statusOf(err) != 2 || !strings.Contains(errOut, "7 keys of alice") || !strings.Contains(errOut, "--yes") {
		t.Errorf("without a terminal: %v, %s", err, errOut)
	}
	if _, errOut, err := s.CLI("roles", "delete", "reader"); statusOf(err) != 2 || !strings.Contains(errOut, "which 7 keys have") {
		t.Errorf("the role, without a terminal: %v, %s", err, errOut)
	}
	for _, args := range [][]string{revoke, {"roles", "delete", "reader"}} {
		for _, answer := range []string{"n\n", "\n", "yess\n", "\x04", "\x03"} {
			if screen, status := atTerminal(t, s.Command(args...), answer); status != 1 || !strings.Contains(screen, "7 keys") || !strings.Contains(screen, "nothing was changed") {
				t.Errorf("%v, answered %q: %d, %s", args, answer, status, screen)
			}
		}
	}
	active := func() int {
		return strings.Count(s.Must("keys", "list", "--user", "alice", "--active", "-o", "name"), "\n")
	}
	if n := active(); n != 7 || !strings.Contains(s.Must("roles", "list"), "reader") {
		t.Fatalf("%d keys are left", n)
	}
	one := strings.Fields(s.Must("keys", "list", "--user", "alice", "-o", "name"))[0]
	if screen, status := atTerminal(t, s.Command("keys", "rotate", one, "--grace", "0s"), "n\n"); status != 1 || !strings.Contains(screen, "ends at once") {
		t.Errorf("a rotation without grace: %d, %s", status, screen)
	}
	s.Must("keys", "revoke", one) // a key that is named needs no question
	if screen, status := atTerminal(t, s.Command("roles", "delete", "reader"), "y\n"); status != 0 {
		t.Errorf("the role, answered y: %d, %s", status, screen)
	}
	if screen, status := atTerminal(t, s.Command(revoke...), "yes\n"); status != 0 || !strings.Contains(screen, "6 keys of alice") || active() != 0 {
		t.Errorf("answered yes: %d, %s", status, screen)
	}
	s.NewKey()
	s.NewKey()
	if _, errOut, err := s.CLI(append(revoke, "--yes")...); err != nil || !strings.Contains(errOut, "2 keys of alice") || active() != 0 {
		t.Errorf("--yes: %v, %s", err, errOut)
	}
}

func TestCLI_PurgeAsksWhatItDeletes(t *testing.T) {
	databases(t, "", func(t *testing.T, s *parts.Service, run func(string, ...any)) {
		old := s.NewKey()
		s.Must("keys", "revoke", old.ID)
		purge := []string{"purge", "--revoked-for", "90d"}
		if _, _, err := s.CLI(purge...); err != nil { // there is nothing to ask about
			t.Errorf("nothing to delete: %v", err)
		}
		run("UPDATE api_keys SET revoked_at = '" + at(-100) + "' WHERE id = '" + old.ID + "'")
		if _, errOut, err := s.CLI(purge...); statusOf(err) != 2 || !strings.Contains(errOut, "1 revoked key") {
			t.Errorf("without a terminal: %v, %s", err, errOut)
		}
		if screen, status := atTerminal(t, s.Command(purge...), "n\n"); status != 1 || !strings.Contains(screen, "1 revoked key") {
			t.Errorf("answered n: %d, %s", status, screen)
		}
		s.Must("keys", "get", old.ID)
		if screen, status := atTerminal(t, s.Command(purge...), "y\n"); status != 0 {
			t.Errorf("answered y: %d, %s", status, screen)
		}
		if _, _, err := s.CLI("keys", "get", old.ID); err == nil {
			t.Error("the key is still there")
		}
	})
}

func TestCLI_ExitStatusOfExplain(t *testing.T) {
	s := service(t, ``)
	k := s.NewKey("--scope", "orders:read")
	for path, want := range map[string]int{"/orders/42": 0, "/invoices/42": 3} {
		cmd := s.Command("explain", "GET", path)
		cmd.Env = append(cmd.Env, "EXTAUTHZ_KEY="+k.Key)
		var errOut strings.Builder
		cmd.Stderr = &errOut
		if got := statusOf(cmd.Run()); got != want || errOut.Len() > 0 {
			t.Errorf("%s: %d, not %d: %s", path, got, want, errOut.String())
		}
	}
	for _, args := range [][]string{{"--version"}, {"version"}} {
		if out := s.Must(args...); !strings.HasPrefix(out, "extauthz  ") || strings.Count(out, "\n") != 1 {
			t.Errorf("%v: %q", args, out)
		}
	}
}

func TestCLI_CompletesFromTheServer(t *testing.T) {
	s := service(t, ``)
	k := s.NewKey("--user", "carol@example.com", "--name", "phone")
	gone := s.NewKey("--user", "dave")
	s.Must("keys", "revoke", gone.ID)
	s.Must("roles", "create", "reader", "--scope", "orders:read")
	completed := func(args ...string) (words []string) {
		t.Helper()
		cmd := s.Command(append([]string{"__complete"}, args...)...)
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%v: %v", args, err)
		}
		lines := strings.Split(strings.TrimSpace(string(out)), "\n")
		if last := lines[len(lines)-1]; last != ":4" { // no file names
			t.Errorf("%v ends with %s", args, last)
		}
		for _, line := range lines[:len(lines)-1] {
			word, _, _ := strings.Cut(line, "\t")
			words = append(words, word)
		}
		return words
	}
	for _, c := range []struct{ want, args string }{
		{k.Prefix, "keys revoke " + k.Prefix[:12]},
		{"", "keys revoke " + gone.Prefix},
		{gone.Prefix, "keys get " + gone.Prefix[:14]},
		{k.ID, "keys get " + k.ID},
		{"", "keys get " + k.Prefix + " " + k.Prefix[:9]},
		{"", "keys enable " + k.Prefix},
		{"carol@example.com", "keys list --user ca"},
		{"reader", "roles delete r"},
		{"reader", "keys create --role re"},
		{"table wide json yaml name", "keys list -o "},
		{"revoked", "keys list --sort rev"},
	} {
		if got := strings.Join(completed(strings.Split(c.args, " ")...), " "); got != c.want {
			t.Errorf("%s: %q, not %q", c.args, got, c.want)
		}
	}
	began := time.Now()
	if got := completed("keys", "revoke", "--server", "http://127.0.0.1:1", "ak_"); len(got) != 0 || time.Since(began) > 5*time.Second {
		t.Errorf("without a server: %v after %v", got, time.Since(began))
	}
}

func TestCLI_CopiesShowNoProgressInPipes(t *testing.T) {
	s := service(t, ``)
	s.NewKey()
	s.Stop()
	_, errOut, err := s.CLI("migrate", "copy", "--from", s.DataDir+"/extauthz.db", "--to", t.TempDir()+"/copy.db")
	if err != nil || strings.Contains(errOut, "\r") || strings.Contains(errOut, "\x1b") {
		t.Errorf("%v: %q", err, errOut)
	}
}
