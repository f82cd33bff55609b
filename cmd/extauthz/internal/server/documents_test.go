package server

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// TestDocuments_SayHowSoonAChangeIsRead: files must be the same at two checks in a row
// before they are read, and reading them may take one second more.
func TestDocuments_SayHowSoonAChangeIsRead(t *testing.T) {
	const root = "../../../.."
	if 2*watchEvery+time.Second != 3*time.Second {
		t.Errorf("files are looked at every %v: the documents say that a change is read within three seconds", watchEvery)
	}
	for file, want := range map[string]string{"docs/configuration.md": "is seen within three seconds", "docs/deployment.md": "it is read within three seconds"} {
		text, err := os.ReadFile(filepath.Join(root, file))
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(text), want) {
			t.Errorf("%s does not say %q", file, want)
		}
	}
	other := regexp.MustCompile(`(?:seen|read|reloads?|reloaded) within (?:one|two|four|five|ten) seconds?`)
	for _, pattern := range []string{"*.md", "docs/*.md", "helm/*/*.md", "helm/*/values.yaml"} {
		files, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if found := other.Find(text); found != nil {
				t.Errorf("%s: %s", file, found)
			}
		}
	}
}
