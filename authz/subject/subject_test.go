package subject

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

const (
	composed   = "caf\u00e9"
	decomposed = "cafe\u0301"
)

func TestUserID_RefusesWhatOthersReadDifferently(t *testing.T) {
	for name, id := range map[string]string{
		"empty": "", "blank before": " alice", "blank after": "alice ", "tab": "\talice", "no-break space": "alice\u00a0", "ideographic space": "\u3000alice",
		"only blanks": "   ", "braille blank": "alice\u2800", "new line": "alice\n", "NUL": "a\x00b", "C1": "a\u0085b", "delete": "a\x7f",
		"dot": ".", "two dots": "..", "dots in a path": "a/../b", "dot in a path": "./a", "dots after a backslash": `a\..`, "dot at the end": "a/.", "slash": "/", "slashes": "//", "backslash": `\`,
		"zero width space": "al\u200bice", "joiner": "al\u200dice", "non-joiner": "al\u200cice", "word joiner": "al\u2060ice", "byte order mark": "\ufeffalice",
		"soft hyphen": "al\u00adice", "grapheme joiner": "al\u034fice", "Hangul filler": "al\u3164ice", "half-width filler": "al\uffa0ice", "Khmer vowel": "al\u17b4ice",
		"variation selector": "alice\ufe0f", "supplementary selector": "alice\U000e0101", "tag": "alice\U000e0061", "Mongolian selector": "a\u180bb", "vowel separator": "a\u180eb",
		"right to left override": "al\u202eice", "isolate": "al\u2066ice", "Arabic letter mark": "al\u061cice", "line separator": "a\u2028b", "paragraph separator": "a\u2029b",
		"inner no-break space": "al\u00a0ice", "private use": "a\ue000", "private plane": "a\U000f0000", "unassigned": "a\u0378", "noncharacter": "a\uffff", "replacement": "a\ufffd",
		"no UTF-8": "a\xff", "surrogate": "a\xed\xa0\x80", "too long": strings.Repeat("a", MaxUserID+1), "interlinear": "a\ufff9b", "musical control": "a\U0001d173b", "shorthand control": "a\U0001bca0b",
	} {
		if got, err := UserID(id); err == nil {
			t.Errorf("%s: %q was taken as %q", name, id, got)
		} else if !strings.HasPrefix(err.Error(), "must ") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestUserID_TakesEveryScriptInOneForm(t *testing.T) {
	for id, want := range map[string]string{
		"alice": "alice", "a b": "a b", "Alice O'Neil": "Alice O'Neil", "a/b": "a/b", "a//b": "a//b", "a%2Fb": "a%2Fb", "a?b#c": "a?b#c", "...": "...", "a.b": "a.b", ".a": ".a",
		"auth0|5f7c": "auth0|5f7c", "spiffe://cluster.local/ns/a/sa/b": "spiffe://cluster.local/ns/a/sa/b", "alice@example.com": "alice@example.com", "a+b*c": "a+b*c",
		composed: composed, decomposed: composed, "\u212b": "\u00c5", "\u1100\u1161": "\uac00", "山田": "山田", "Ольга": "Ольга", "สมชาย": "สมชาย", "नमस्ते": "नमस्ते", "محمد": "محمد", "😀": "😀",
		strings.Repeat("a", MaxUserID): strings.Repeat("a", MaxUserID),
	} {
		if got, err := UserID(id); err != nil || got != want {
			t.Errorf("%q: got %q, %v; want %q", id, got, err, want)
		}
	}
}

// TestUserID_WhatIsTakenStays: for every character, an accepted id is accepted again and
// stays unchanged.
func TestUserID_WhatIsTakenStays(t *testing.T) {
	taken := 0
	for c := rune(0); c <= unicode.MaxRune; c++ {
		if !utf8.ValidRune(c) {
			continue
		}
		id, err := UserID("a" + string(c) + "b")
		if err != nil {
			continue
		}
		taken++
		if unicode.In(c, unicode.C, unicode.Zl, unicode.Zp, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector) {
			t.Errorf("U+%04X was taken", c)
		}
		again, err := UserID(id)
		if err != nil || again != id || !norm.NFC.IsNormalString(id) {
			t.Errorf("U+%04X: %q became %q, %v", c, id, again, err)
		}
	}
	if taken < 100_000 {
		t.Errorf("only %d characters are taken", taken)
	}
}

func TestName_KeepsScriptsAndEmojiAsTheyAreWritten(t *testing.T) {
	for _, name := range []string{
		"laptop", "Café ☕", "Café ☕\ufe0f", "क्\u200dष", "می\u200cخواهم", "ශ්\u200dරී", "👨\u200d👩\u200d👧", "👩🏽\u200d💻", "❤\ufe0f\u200d🔥", "山田\u3000太郎", "ᠮᠣᠩᠭᠣᠯ\u180bᠤᠨ", "a\u00a0b", "ᠬᠠᠷ\u180eᠠ",
	} {
		if got, err := Name(name); err != nil || got != norm.NFC.String(name) {
			t.Errorf("%q: got %q, %v", name, got, err)
		}
	}
	for _, name := range []string{
		"", " ", "\u3000", " laptop", "laptop ", "laptop\u00a0", "lap\u200btop", "lap\u200dtop", "lap\u200ctop", "laptop\u200d", "\u200dlaptop", "lap\u00adtop", "laptop\ufe0f", "\ufe0f☕", "l\u202ep",
		"a\u2028b", "a\tb", "a\x00", "a\ue000", "a\u0378", "a\U000e0061", "می\u200c", "a\u180bb", "a\u180eb", "a\u2800", strings.Repeat("é", MaxName+1),
	} {
		if got, err := Name(name); err == nil {
			t.Errorf("%q was taken as %q", name, got)
		}
	}
	if got, err := Name(decomposed); err != nil || got != composed {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestForms_AreTheSameForAllOfThem(t *testing.T) {
	if got := Forms("alice"); len(got) != 1 || got[0] != "alice" {
		t.Errorf("got %q", got)
	}
	for _, id := range []string{composed, decomposed} {
		if got := Forms(id); len(got) != 2 || got[0] != composed || got[1] != decomposed {
			t.Errorf("%q: got %q", id, got)
		}
	}
	if got := Forms("a\u0323\u0307"); len(got) < 2 {
		t.Errorf("got %q", got)
	}
}
