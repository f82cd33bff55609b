package cachesvc

import (
	"strings"
	"testing"
	"time"

	"extauthz/cachesvc/seal"
)

func sealingOf(t *testing.T, letters string) (keys seal.Keys) {
	t.Helper()
	for _, l := range letters {
		k, err := seal.NewKey([]byte(strings.Repeat(string(l), seal.MinKeyBytes)))
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, k)
	}
	return keys
}

// TestSealingConflicts_ByTheKeysThatOthersHave: each replica has to open what the other
// one seals. Old figures do not count: their replicas are gone.
func TestSealingConflicts_ByTheKeysThatOthersHave(t *testing.T) {
	now := time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)
	for name, c := range map[string]struct {
		own, other string
		age        time.Duration
		want       string // a part of the text; "" if there is none
	}{
		"the same":                     {"a", "a", 0, ""},
		"none at all":                  {"", "", 0, ""},
		"exchanged, both have both":    {"ba", "ab", 0, ""},
		"exchanged here alone":         {"ba", "a", 0, "this replica seals with key"},
		"exchanged there alone":        {"a", "ba", 0, "which this one does not have"},
		"another one":                  {"a", "b", 0, "which this one does not have"},
		"none here":                    {"", "a", 0, "this replica has no sealing key"},
		"none there":                   {"a", "", 0, "has no sealing key, this one"},
		"another one, which has ended": {"a", "b", time.Hour, ""},
	} {
		t.Run(name, func(t *testing.T) {
			others := sealingOf(t, c.other)
			all := []ReplicaStats{{Instance: "other", At: now.Add(-c.age), Sealing: others.IDs()}, {Instance: "self", At: now, Sealing: []string{"x"}}}
			got := conflictsOf(sealingOf(t, c.own), "self", all, now.Add(-time.Minute))
			if text := got["other"]; (c.want == "") != (len(got) == 0) || !strings.Contains(text, c.want) {
				t.Errorf("got %v", got)
			}
		})
	}
}
