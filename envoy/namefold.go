package envoy

import (
	"strings"
	"unicode/utf8"
)

// A header's name reaches a program as something else than what was sent. CGI and
// WSGI write "_" for "-", PHP for "." too, lighttpd and old Apaches for every byte
// that is no letter or digit, and all of them drop the case. So two names are one
// where they fold to the same: letters without their case, digits as they are, and
// each other character a separator, whichever it is. Two letters beyond ASCII have
// one of ASCII as their other case and count as it, for parsers that let them pass:
// U+212A (Kelvin) is k, U+017F (long s) is s.
const (
	separator = '-'
	kelvin    = '\u212a'
	longS     = '\u017f'
)

// folded is what a byte of ASCII folds to. Others are looked at as runes.
var folded = func() (to [utf8.RuneSelf]byte) {
	for c := range to {
		switch b := lowerByte(byte(c)); {
		case b >= 'a' && b <= 'z', b >= '0' && b <= '9':
			to[c] = b
		default:
			to[c] = separator
		}
	}
	return to
}()

// FoldName returns what a header's name folds to: lower-case letters, digits and
// "-", one for each character. Names that fold to the same are one name.
func FoldName(name string) string {
	var b strings.Builder
	for _, c := range name { // a byte that is no UTF-8 is a character of its own
		switch {
		case c < utf8.RuneSelf:
			b.WriteByte(folded[c])
		case c == kelvin:
			b.WriteByte('k')
		case c == longS:
			b.WriteByte('s')
		default:
			b.WriteByte(separator)
		}
	}
	return b.String()
}

// FoldsUnder tells whether what a name folds to begins with a prefix that is folded
// already. It does not allocate for names in ASCII.
func FoldsUnder(name, prefix string) bool {
	if len(name) < len(prefix) { // no character folds to more bytes than it has
		return false
	}
	for i := range len(prefix) {
		c := name[i]
		if c >= utf8.RuneSelf {
			return strings.HasPrefix(FoldName(name), prefix)
		}
		if folded[c] != prefix[i] {
			return false
		}
	}
	return true
}

// maxExpression is how large Envoy lets a regular expression be, in instructions. A
// separator takes eleven at most, another character one.
const maxExpression = 100

// PrefixTooLong tells whether the expression for names under a prefix is larger than
// Envoy takes.
func PrefixTooLong(prefix string) bool {
	return len(prefix)+10*strings.Count(FoldName(prefix), string(separator)) > maxExpression
}

// nameExpression is a regular expression for the whole of every name, in lower
// case, that folds to a folded one; with under, to one that begins with it.
func nameExpression(name string, under bool) string {
	expression := "^" + strings.ReplaceAll(name, string(separator), "[^a-z0-9]")
	if under {
		return expression + ".*"
	}
	return expression + "$"
}
