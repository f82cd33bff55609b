package remote

import (
	"os"
	"strings"
	"testing"
	"time"
)

// TestBreaker_TriesAgainWhenDocumentsSay: the time of the next try depends on the breaker
// alone, not on how often its state is read.
func TestBreaker_TriesAgainWhenDocumentsSay(t *testing.T) {
	b := newBreaker()
	for range failureLimit {
		b.record(0, true)
	}
	if b.allow(time.Second-1) || !b.allow(time.Second) || probeEvery >= time.Second {
		t.Error("a store that failed is not tried again after one second, as the documents say")
	}
	for file, want := range map[string]string{
		"../../../docs/troubleshooting.md": "It is tried again after a second",
		"../../../docs/cache.md":           "then a breaker leaves it alone for a second at a time",
	} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(text), want) {
			t.Errorf("%s does not say %q", file, want)
		}
	}
}
