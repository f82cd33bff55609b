package store_test

import (
	"strings"
	"testing"

	"extauthz/cachesvc/store"
)

func TestIdentifier_IsDifferentForEachText(t *testing.T) {
	texts := []string{"", "a", "A", "a b", "ab", "a-b", "a/b", "a:b", "ü", "u", strings.Repeat("x", 128), strings.Repeat("x", 129), "x"}
	for _, text := range texts {
		texts = append(texts, store.Identifier(text)) // the identifier is tested as a text too
	}
	seen := map[string]string{}
	for _, text := range texts {
		id := store.Identifier(text)
		if before, ok := seen[id]; ok && before != text {
			t.Errorf("%q and %q both get %q", before, text, id)
		}
		seen[id] = text
		if err := store.CheckName("apikey:user:" + id); err != nil {
			t.Errorf("the identifier of %q can't stand in a key: %v", text, err)
		}
	}
}
