package credentials

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"extauthz/e2e/parts"
)

// counting returns a program that writes the number of its run, with a line end.
func counting(t *testing.T) []string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "runs")
	return []string{"sh", "-c", `echo x >> "$1"; echo "token-$(wc -l < "$1" | tr -d ' ')"`, "sh", path}
}

func get(t *testing.T, p *Password) string {
	t.Helper()
	text, err := p.Password(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestPassword_CommandRunsOnceAnInterval(t *testing.T) {
	p := FromCommand(counting(t), time.Hour, nil)
	var group sync.WaitGroup
	for range 20 {
		group.Go(func() {
			if text, err := p.Password(t.Context()); err != nil || text != "token-1" {
				t.Errorf("%q, %v", text, err)
			}
		})
	}
	group.Wait()
}

func TestPassword_CommandRunsAgainAfterItsInterval(t *testing.T) {
	p := FromCommand(counting(t), time.Millisecond, nil)
	first := get(t, p)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := parts.Eventually(ctx, func() error {
		if get(t, p) == first {
			return errors.New("it is the first output")
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
}

func TestPassword_RejectedRunsTheCommandAgain(t *testing.T) {
	p := FromCommand(counting(t), time.Hour, nil)
	first := get(t, p)
	p.Rejected()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := parts.Eventually(ctx, func() error {
		if get(t, p) == first {
			return errors.New("it is the rejected output")
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
}

func TestPassword_FailingCommandHidesItsOutput(t *testing.T) {
	for name, c := range map[string]struct {
		argv []string
		want string
	}{
		"exit status": {[]string{"sh", "-c", "echo geheim; echo geheim >&2; exit 3"}, "sh failed: exit status 3"},
		"no output":   {[]string{"sh", "-c", "echo"}, "sh wrote no password"},
		"no program":  {[]string{"/nowhere/geh"}, "/nowhere/geh can't be run"},
		"no end":      {[]string{"sh", "-c", "yes geheim"}, "sh writes more than 64 KiB"},
	} {
		t.Run(name, func(t *testing.T) {
			var reported []error
			_, err := FromCommand(c.argv, time.Hour, func(err error) { reported = append(reported, err) }).Password(t.Context())
			if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "geheim") {
				t.Errorf("got %v", err)
			}
			if len(reported) != 1 || !errors.Is(reported[0], err) {
				t.Errorf("reported %v", reported)
			}
		})
	}
}

func TestPassword_LastOutputServesWhileTheCommandFails(t *testing.T) {
	path := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(path, []byte("good"), 0o600); err != nil {
		t.Fatal(err)
	}
	p := FromCommand([]string{"cat", path}, time.Millisecond, nil)
	get(t, p)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(1500 * time.Millisecond); time.Now().Before(end); {
		if text := get(t, p); text != "good" {
			t.Fatalf("got %q", text)
		}
	}
}

func TestPassword_CallerDoesNotWaitForASlowCommand(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := FromCommand([]string{"sleep", "3"}, time.Hour, nil).Password(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

func TestKept_LastGoodValueStays(t *testing.T) {
	var err error
	var reported []error
	n := 0
	k := &LastGood[int]{Read: func() (int, error) { n++; return n, err }, Changed: func(err error) { reported = append(reported, err) }}
	failure := errors.New("gone")
	for i, step := range []struct {
		err  error
		want int
	}{{nil, 1}, {failure, 1}, {failure, 1}, {nil, 4}} {
		err = step.err
		if got, err := k.Current(); got != step.want || err != nil {
			t.Errorf("step %d: %d, %v", i, got, err)
		}
	}
	if len(reported) != 2 || !errors.Is(reported[0], failure) || reported[1] != nil {
		t.Errorf("reported %v", reported)
	}
}
