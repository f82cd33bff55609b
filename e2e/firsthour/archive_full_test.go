//go:build full

package firsthour

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestFirstHour_ArchiveRunsWithoutGo makes a draft of a release from this tree. Then it
// runs the document's commands on a machine without Go, in a folder that contains only
// the archive.
func TestFirstHour_ArchiveRunsWithoutGo(t *testing.T) {
	folder := t.TempDir()
	release := filepath.Join(t.TempDir(), "release")
	c := exec.Command("go", "run", "./scripts/release", "-draft", "-o", release)
	c.Dir = root
	if said, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, said)
	}
	archives, err := filepath.Glob(filepath.Join(release, "extauthz_*_linux_*.tar.gz"))
	if err != nil || len(archives) != 1 {
		t.Fatalf("%v, %v", archives, err)
	}
	if err := os.Rename(archives[0], filepath.Join(folder, filepath.Base(archives[0]))); err != nil {
		t.Fatal(err)
	}
	path := withoutGo(t)
	run(t, "docs/releasing.md", openTerminal(t, folder, append(bare(t)[1:], "PATH="+path)),
		[]string{"\nextauthz ", "\nserving\n", "alice", "allowed  ", "denied  ", "scope_missing"})
}

// withoutGo returns a PATH without a compiler.
func withoutGo(t *testing.T) string {
	t.Helper()
	var folders []string
	for folder := range strings.SplitSeq(strings.TrimPrefix(bare(t)[0], "PATH="), ":") {
		if _, err := os.Stat(filepath.Join(folder, "go")); err != nil {
			folders = append(folders, folder)
		}
	}
	return strings.Join(folders, ":")
}
