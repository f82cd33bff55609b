package envoy

import (
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

// referenceFold implements the description of FoldName literally, one character after the
// other.
func referenceFold(name string) string {
	fold := ""
	for _, c := range name {
		for other := unicode.SimpleFold(c); c >= utf8.RuneSelf && other != c; other = unicode.SimpleFold(other) {
			if other < utf8.RuneSelf {
				c = other
			}
		}
		switch {
		case c >= 'A' && c <= 'Z':
			fold += string(c - 'A' + 'a')
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9':
			fold += string(c)
		default:
			fold += "-"
		}
	}
	return fold
}

func checkFold(t *testing.T, name, prefix string) {
	t.Helper()
	want := referenceFold(name)
	if got := FoldName(name); got != want {
		t.Errorf("%q folds to %q, want %q", name, got, want)
	}
	under := FoldName(prefix)
	if got := FoldsUnder(name, under); got != strings.HasPrefix(want, under) {
		t.Errorf("%q is under %q: %v", name, under, got)
	}
	expressions, err := RemovedExpressions(prefix, nil)
	if err != nil {
		t.Fatal(err)
	}
	own, _ := newOwnNames(prefix, nil)
	claimed := slices.ContainsFunc(expressions, func(e string) bool { return regexp.MustCompile("(?i)" + e).MatchString(name) })
	token := strings.Trim(strings.ToLower(name), "abcdefghijklmnopqrstuvwxyz0123456789!#$%&'*+-.^_`|~") == ""
	if got := own.claim(name); claimed && !got || token && got != claimed || got != (strings.HasPrefix(want, under) || slices.Contains(OverrideHeaders(), want)) {
		t.Errorf("%q with prefix %q: claimed %v, by expression %v", name, prefix, got, claimed)
	}
}

func FuzzFoldAgreesWithReferenceAndExpressions(f *testing.F) {
	for _, name := range []string{"x-auth-user-id", "X.Auth.User.Id", "x_auth!a", "X-HTTP_Method.Override", "\u017fcript-name", "x-vhm-root\u212a", "x-bac\u212a-", "x--auth-a",
		"x-aut", "", "\xff", "x\xc2auth\xa0a", "x\u2013auth-a", "scripT|nAME", "PATH_INFO", "x-\u017fcript name", "forwarded", "forwarded-", "x-forwarded-for"} {
		f.Add(name, "x-auth-")
		f.Add(name, "x-bac\u212a-")
	}
	f.Fuzz(func(t *testing.T, name, prefix string) {
		// An empty prefix is refused by the configuration: every header would be under it.
		if len(name) > 200 || prefix == "" || len(prefix) > 50 || strings.ContainsAny(prefix, "\n") || !utf8.ValidString(prefix) {
			return
		}
		checkFold(t, name, prefix)
	})
}

// respelled returns another name that folds to the given folded one.
func respelled(r *rand.Rand, name string) string {
	const separators = "-_.!#$%&'*+^`|~ :\x7f\x01\xff\u2013"
	all := []rune(separators)
	var b strings.Builder
	for _, c := range name {
		switch {
		case c == separator:
			b.WriteRune(all[r.IntN(len(all))])
		case c == 'k' && r.IntN(4) == 0:
			b.WriteRune(kelvin)
		case c == 's' && r.IntN(4) == 0:
			b.WriteRune(longS)
		case r.IntN(2) == 0:
			b.WriteRune(unicode.ToUpper(c))
		default:
			b.WriteRune(c)
		}
	}
	return b.String()
}

func TestOwnNames_ClaimEverySpelling(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	own, err := newOwnNames("x-auth-", []string{"X_Forwarded_Prefix"})
	if err != nil {
		t.Fatal(err)
	}
	for range 2000 {
		name := "x-auth-" + []string{"", "user-id", "scopes", "anything-else"}[r.IntN(4)]
		if spelled := respelled(r, name); !own.claim(spelled) {
			t.Errorf("%q is not claimed", spelled)
		}
		override := OverrideHeaders()[r.IntN(len(OverrideHeaders()))]
		spelled := respelled(r, override)
		if kept := override == "x-forwarded-prefix"; own.claim(spelled) == kept || (own.override(spelled) == override) == kept {
			t.Errorf("%q: claimed %v as %q", spelled, own.claim(spelled), own.override(spelled))
		}
		checkFold(t, spelled, "x-auth-")
	}
	for _, name := range []string{"", "x", "x-auth", "xauth-user-id", "x-author", "x1auth-user-id", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-port", "x-request-id", "x-api-key",
		"content-type", "script-names", "forwarde", "x-http-methods", "x-original-urls"} {
		if own.claim(name) {
			t.Errorf("%q is claimed", name)
		}
	}
	if _, err := newOwnNames("x-auth-", []string{"x-request-id"}); err == nil {
		t.Error("a header that is none of them was kept")
	}
	if n := testing.AllocsPerRun(100, func() {
		for _, name := range []string{"x-api-key", "x-request-id", "X-Forwarded-For", "x-forwarded-proto", "script-name", "x-auth-user-id", "X_AUTH.user", "accept", "sec-fetch-mode"} {
			_ = own.claim(name)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
