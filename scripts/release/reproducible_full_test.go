//go:build full

package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestRelease_IsTheSameBytesTwice: this tree's files are committed and released in two
// folders. The second release has another umask, time zone and language. A third one, for
// one platform, has an empty build cache. None of them has a network.
func TestRelease_IsTheSameBytesTwice(t *testing.T) {
	r := &repository{t: t, folder: filepath.Join(t.TempDir(), "first")}
	listed, err := exec.Command("git", "-C", "../..", "ls-files", "-co", "--exclude-standard", "--deduplicate").Output()
	if err != nil {
		t.Fatal(err)
	}
	for name := range strings.Lines(string(listed)) {
		name = strings.TrimSuffix(name, "\n")
		from := filepath.Join("../..", name)
		text, err := os.ReadFile(from)
		if os.IsNotExist(err) {
			continue // the file was removed, which is not committed yet
		}
		if err != nil {
			t.Fatal(err)
		}
		r.write(name, string(text))
		if about, err := os.Stat(from); err != nil {
			t.Fatal(err)
		} else if err := os.Chmod(filepath.Join(r.folder, name), about.Mode()); err != nil {
			t.Fatal(err)
		}
	}
	r.git("init", "-q")
	r.commit()
	second := filepath.Join(t.TempDir(), "elsewhere", "second")
	r.git("clone", "-q", r.folder, second)

	build := func(folder, command string, env ...string) {
		t.Helper()
		c := exec.Command("bash", "-c", command)
		c.Dir = folder
		c.Env = append(append(os.Environ(), "GOPROXY=off", "GOSUMDB=off", "GOFLAGS=-mod=readonly"), env...)
		if said, err := c.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, said)
		}
	}
	build(r.folder, "umask 022; exec make release")
	build(second, "umask 077; exec make release", "TZ=Asia/Tokyo", "LC_ALL=C.UTF-8")
	build(second, "exec go run ./scripts/release -draft -o dist/draft", "GOCACHE="+t.TempDir())
	a, b, draft := filepath.Join(r.folder, "dist/release"), filepath.Join(second, "dist/release"), filepath.Join(second, "dist/draft")

	check := exec.Command("sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS")
	check.Dir = b
	if said, err := check.CombinedOutput(); err != nil {
		t.Errorf("%v %s", err, said)
	}
	entries, err := os.ReadDir(a)
	if err != nil {
		t.Fatal(err)
	}
	others, err := os.ReadDir(b)
	if err != nil {
		t.Fatal(err)
	}
	drafted, err := os.ReadDir(draft)
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) < 4*2+2*2+1 || len(others) != len(entries) || len(drafted) < 2+2+1 {
		t.Errorf("%v, and %v, and %v", entries, others, drafted)
	}
	same := func(e os.DirEntry, x, y string) {
		one, err := os.ReadFile(filepath.Join(x, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		other, err := os.ReadFile(filepath.Join(y, e.Name()))
		if err != nil || !bytes.Equal(one, other) {
			t.Errorf("%s differs: %v", e.Name(), err)
		}
		t.Logf("%s: %d bytes", e.Name(), len(one))
	}
	for _, e := range entries {
		same(e, a, b)
	}
	for _, e := range drafted {
		if e.Name() != "SHA256SUMS" { // the release for one platform has fewer lines in it
			same(e, draft, a)
		}
	}
}
