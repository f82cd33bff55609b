package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestCheckLine_FindsPrivateWords(t *testing.T) {
	for line, words := range map[string]int{
		"// the replica is told of the change":     1,
		"func TestCache_IsToldOfAChange(t) {":      1,
		"reason: nobody_answered":                  1,
		"The very same key was proved.":            2,
		"An improved, approved store.":             0,
		"Allocated from a ring buffer.":            0,
		"// a ring buffer, filled until the bell":  1,
		"The gateway reports the replica's state.": 0,
	} {
		if found := checkLine("x.go", line); len(found) != words {
			t.Errorf("%q: found %v, want %d", line, found, words)
		}
	}
}

func TestCheckFile_CountsAPlantedWord(t *testing.T) {
	planted := filepath.Join(t.TempDir(), "planted.md")
	text := "# Cache\n\nThe replica is " + strings.ToUpper("told") + " at once.\n"
	if err := os.WriteFile(planted, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if n, err := checkFile(planted); n != 1 || err != nil {
		t.Errorf("checkFile found %d words (%v), want 1", n, err)
	}
}
