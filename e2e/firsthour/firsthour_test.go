package firsthour

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"extauthz/e2e/parts"
)

const root = "../.."

// quickstartEnvoy is the version that `make quickstart` fetches.
const quickstartEnvoy = "1.40.0"

// allowed are failures that a document intends: the beginning of a command, and its
// status.
var allowed = []failure{
	{"extauthz explain ", 3}, // the request is denied
	{"wait ", 143},           // of programs that were just ended by SIGTERM
}

// TestFirstHour_DocumentsRunAsPasted runs on a machine with a copy of the source, Go and
// make. The expected texts must be shown in this order.
func TestFirstHour_DocumentsRunAsPasted(t *testing.T) {
	if testing.Short() {
		t.Skip("it compiles the service and runs Envoy")
	}
	if _, err := parts.EnvoyPath(quickstartEnvoy); err != nil {
		parts.Missing(t, err)
	}
	folder := workingCopy(t)
	for _, document := range []struct {
		path     string
		expected []string
	}{
		{"README.md", []string{"HTTP/1.1 200", "x-auth-user-id: alice", "HTTP/1.1 401", "missing_key", "HTTP/1.1 403", "scope_missing", "denied  ", "HTTP/1.1 401", "key_revoked"}},
		{"docs/tutorial.md", []string{"\nserving\n", "missing_key", "x-auth-user-id: alice", "scope_missing", "status 3: denied", "/orders/{id}/cancel", "\n200\n", "scope_missing", "orders/{id}/cancel", "\n200\n", "\n200\n", "\n200\n", "key_revoked"}},
	} {
		t.Run(document.path, func(t *testing.T) {
			if err := os.RemoveAll(filepath.Join(folder, "dist")); err != nil {
				t.Fatal(err)
			}
			run(t, document.path, openTerminal(t, folder, withGo(t)), document.expected)
		})
	}
}

// run pastes each block of a document into a terminal.
func run(t *testing.T, document string, s *terminal, expected []string) {
	t.Helper()
	blocks := parts.Fenced(t, filepath.Join(root, document), "sh")
	for i, block := range blocks {
		begun := time.Now()
		shown, failures := s.paste(block)
		t.Logf("block %d of %d took %v", i+1, len(blocks), time.Since(begun).Round(100*time.Millisecond))
		for _, f := range failures {
			if !isAllowed(f) {
				t.Fatalf("%q ended with status %d in\n%s\nwhich showed\n%s", f.command, f.status, block, shown)
			}
		}
		for len(expected) > 0 {
			_, after, found := strings.Cut(shown, expected[0])
			if !found {
				break
			}
			shown, expected = "\n"+after, expected[1:]
		}
	}
	if len(expected) > 0 {
		t.Errorf("not shown, or not in this order: %q", expected)
	}
}

func isAllowed(f failure) bool {
	for _, a := range allowed {
		if strings.HasPrefix(f.command, a.command) && f.status == a.status {
			return true
		}
	}
	return false
}

// workingCopy copies the tree as a clone would have it, including changes that are not
// committed.
func workingCopy(t *testing.T) string {
	t.Helper()
	folder := t.TempDir()
	list := exec.Command("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--deduplicate")
	list.Dir = root
	names, err := list.Output()
	if err != nil {
		t.Fatalf("git ls-files: %v", err)
	}
	pack := exec.Command("tar", "--create", "--null", "--files-from=-", "--ignore-failed-read")
	pack.Dir, pack.Stdin = root, bytes.NewReader(names)
	archive, err := pack.Output()
	if err != nil {
		t.Fatalf("tar: %v", err)
	}
	unpack := exec.Command("tar", "--extract", "--directory", folder)
	unpack.Stdin = bytes.NewReader(archive)
	if said, err := unpack.CombinedOutput(); err != nil {
		t.Fatalf("tar: %v %s", err, said)
	}
	return folder
}

// withGo returns the environment of a bare machine with Go. Earlier downloads and builds
// may be used, since the test is about the commands and not about a network.
func withGo(t *testing.T) []string {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	env := append(bare(t), "XDG_CACHE_HOME="+cache, "GOPROXY=off")
	for _, name := range []string{"GOROOT", "GOCACHE", "GOMODCACHE"} {
		value, err := exec.Command("go", "env", name).Output()
		if err != nil {
			t.Fatal(err)
		}
		path := strings.TrimSpace(string(value))
		if name == "GOROOT" {
			env[0] += ":" + path + "/bin"
		} else {
			env = append(env, name+"="+path)
		}
	}
	return env
}

// bare returns the environment of a bare machine; PATH is its first element.
func bare(t *testing.T) []string {
	t.Helper()
	return []string{"PATH=/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=" + t.TempDir(), "LANG=C.UTF-8"}
}
