package gatewayconfig

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"testing"
)

// TestExamples_FailClosed: no example fails open; operators may choose that themselves.
func TestExamples_FailClosed(t *testing.T) {
	open := regexp.MustCompile(`(?i)(failure_mode_allow|failOpen)\b\W*(true|yes|on)\b`)
	files := 0
	err := filepath.WalkDir(examples, func(file string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		text, err := os.ReadFile(file)
		if found := open.Find(text); found != nil {
			t.Errorf("%s: %s", file, found)
		}
		files++
		return err
	})
	if err != nil || files < 15 {
		t.Fatalf("%d files: %v", files, err)
	}
}
