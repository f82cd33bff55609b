package envoy

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"
)

// TestNoExampleLetsRequestsThroughWhileWeAreAway: that is for operators to choose.
func TestNoExampleLetsRequestsThroughWhileWeAreAway(t *testing.T) {
	open := regexp.MustCompile(`(?i)(failure_mode_allow|failOpen)\b\W*(true|yes|on)\b`)
	files, err := filepath.Glob("examples/*")
	if err != nil || len(files) < 5 {
		t.Fatalf("%v: %v", files, err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if found := open.Find(text); found != nil {
			t.Errorf("%s: %s", file, found)
		}
	}
}
