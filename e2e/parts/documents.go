package parts

import (
	"os"
	"regexp"
	"testing"
)

// Fenced returns the code blocks of a document in a language, in their order.
func Fenced(tb testing.TB, path, language string) (blocks []string) {
	tb.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		tb.Fatal(err)
	}
	for _, found := range regexp.MustCompile("(?ms)^```"+language+"\n(.*?)^```").FindAllSubmatch(text, -1) {
		blocks = append(blocks, string(found[1]))
	}
	if len(blocks) == 0 {
		tb.Fatalf("%s has no block of %s", path, language)
	}
	return blocks
}
