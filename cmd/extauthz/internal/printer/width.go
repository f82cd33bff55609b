package printer

import (
	"unicode"

	"golang.org/x/text/width"
)

// columnsOf returns how many columns a text takes on a terminal.
func columnsOf(text string) (n int) {
	for _, r := range text {
		n += columnsOfRune(r)
	}
	return n
}

func columnsOfRune(r rune) int {
	if unicode.In(r, unicode.Mn, unicode.Me, unicode.Cf) { // drawn over the rune before it, or not at all
		return 0
	}
	switch width.LookupRune(r).Kind() {
	case width.EastAsianWide, width.EastAsianFullwidth:
		return 2
	}
	return 1
}

// cut shortens a text to at most so many columns, the last of which is an ellipsis.
func cut(text string, to int) string {
	if columnsOf(text) <= to {
		return text
	}
	used := 0
	for i, r := range text {
		if used += columnsOfRune(r); used > to-1 {
			return text[:i] + "…"
		}
	}
	return text
}
