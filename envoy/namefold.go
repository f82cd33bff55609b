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

// FoldsUnder reports whether what a name folds to begins with a prefix that is folded
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

// In a regular expression a separator is ASCII's punctuation, which is what a token may
// have besides letters and digits: no supported gateway lets another name pass, and "not
// a letter or digit" is so large an expression that Envoy, which takes 100 instructions,
// would need one for each name.
const (
	separatorClass       = "[[:punct:]]"
	maxExpression        = 100
	separatorInstruction = 5 // at most, beside its own character
)

// PrefixTooLong reports whether the expression for names under a prefix is larger than
// Envoy takes.
func PrefixTooLong(prefix string) bool {
	longest := grpcGatewayPrefix + prefix
	return len(longest)+separatorInstruction*strings.Count(FoldName(longest), string(separator)) > maxExpression
}

// prefixExpression is a regular expression for the whole of every token, in lower case,
// that folds to a name under a folded prefix.
func prefixExpression(prefix string) string { return "^" + spelled(prefix) + ".*" }

// namesExpression is the same for those that fold to one of some folded names.
func namesExpression(names []string) string {
	return "^(?:" + spelled(strings.Join(names, "|")) + ")$"
}

func spelled(folded string) string {
	return strings.ReplaceAll(folded, string(separator), separatorClass)
}
