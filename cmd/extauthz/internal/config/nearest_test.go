package config

import "testing"

func TestDistance_CountsTypingSlips(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{
		{"", "", 0}, {"", "abc", 3}, {"abc", "", 3}, {"adresses", "addresses", 1}, {"lsiten", "listen", 1},
		{"listem", "listen", 1}, {"listten", "listen", 1}, {"kitten", "sitting", 3}, {"dsn", "dns", 1},
	} {
		if got := editDistance(c.a, c.b); got != c.want {
			t.Errorf("editDistance(%q, %q) = %d, want %d", c.a, c.b, got, c.want)
		}
	}
}
