package envoy

import (
	"strings"
	"unicode/utf8"
)

// A program may see another header name than the one that was sent. CGI and WSGI replace
// "-" by "_". PHP also replaces ".", and lighttpd and old versions of Apache replace
// every byte that is not a letter or digit. All of them ignore case. So two names count
// as one if they fold to the same text: letters lose their case, digits stay as they are,
// and every other character becomes the same separator. Two letters outside ASCII have an
// ASCII letter as their other case. They count as that letter, since some parsers let
// them pass: U+212A (Kelvin) is k, U+017F (long s) is s.
const (
	separator = '-'
	kelvin    = '\u212a'
	longS     = '\u017f'
)

// folded maps each ASCII byte to the byte that it folds to. Other characters are folded
// as runes.
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

// FoldName returns what a header's name folds to: lower-case letters, digits and "-", one
// for each character. Names that fold to the same text count as one name.
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

// FoldsUnder reports whether a name, once folded, begins with prefix, which is folded
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

// In a regular expression a separator is any ASCII punctuation: a token has nothing else
// besides letters and digits, and no supported gateway lets another name pass. "Not a
// letter or digit" would be too large: Envoy accepts 100 instructions in one expression,
// so each name would need an expression of its own.
const (
	separatorClass       = "[[:punct:]]"
	maxExpression        = 100
	separatorInstruction = 5 // at most, in addition to its own character
)

// PrefixTooLong reports whether the expression for names under a prefix is larger than
// Envoy accepts.
func PrefixTooLong(prefix string) bool {
	longest := grpcGatewayPrefix + prefix
	return len(longest)+separatorInstruction*strings.Count(FoldName(longest), string(separator)) > maxExpression
}

// prefixExpression returns a regular expression that matches, as a whole, every
// lower-case token that folds to a name under the folded prefix.
func prefixExpression(prefix string) string { return "^" + spelled(prefix) + ".*" }

// namesExpression returns the same for tokens that fold to one of the folded names.
func namesExpression(names []string) string {
	return "^(?:" + spelled(strings.Join(names, "|")) + ")$"
}

func spelled(folded string) string {
	return strings.ReplaceAll(folded, string(separator), separatorClass)
}
