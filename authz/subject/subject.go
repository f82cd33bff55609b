package subject

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// The longest id and name that can be stored.
const (
	MaxUserID = 256 // bytes
	MaxName   = 200 // characters
)

// UserID returns the id in the form to store. Its error names what is wrong with the
// id and what to do, in the form "must …".
func UserID(id string) (string, error) {
	if !utf8.ValidString(id) {
		return id, errors.New("must be UTF-8")
	}
	id = norm.NFC.String(id)
	switch {
	case id == "":
		return id, errors.New("must not be empty")
	case len(id) > MaxUserID:
		return id, fmt.Errorf("must have at most %d bytes", MaxUserID)
	case blankEdge(id):
		return id, errors.New("must not begin or end with a blank, which is lost in a header: remove it")
	case dotSegment(id):
		return id, errors.New(`must not be "." or "..", nor have one of them between slashes: a URL's path would be read without it`)
	case strings.Trim(id, `/\`) == "":
		return id, errors.New("must not be slashes alone: as a part of a URL's path it would be read as none")
	}
	for _, c := range id {
		if !visible(c) && c != ' ' {
			return id, fmt.Errorf("must have visible characters and plain spaces alone, and has U+%04X: remove it", c)
		}
	}
	return id, nil
}

// Name returns the name as it is stored; its error is like that of [UserID]. A name may
// hold any script and any space inside, so joiners are kept in scripts and emoji that
// need them.
func Name(name string) (string, error) {
	if !utf8.ValidString(name) {
		return name, errors.New("must be UTF-8")
	}
	name = norm.NFC.String(name)
	switch {
	case strings.TrimFunc(name, blank) == "":
		return name, errors.New("must not be empty")
	case utf8.RuneCountInString(name) > MaxName:
		return name, fmt.Errorf("must have at most %d characters", MaxName)
	case blankEdge(name):
		return name, errors.New("must not begin or end with a blank: remove it")
	}
	all := []rune(name)
	for i, c := range all {
		if !visible(c) && !unicode.Is(unicode.Zs, c) && !joins(all, i) {
			return name, fmt.Errorf("must not have control, invisible or unassigned characters, and has U+%04X: remove it", c)
		}
	}
	return name, nil
}

// Forms returns the forms in which the id may be stored. The first is the composed one
// (NFC), in which ids are stored today. The others are from when ids were stored as they
// were sent: as it is given, and decomposed (NFD), as some systems write it. An ASCII id
// has a single form. Unicode calls all forms the same text, so they are one user.
func Forms(id string) []string {
	forms := []string{norm.NFC.String(id)}
	for _, other := range []string{id, norm.NFD.String(id)} {
		if !slices.Contains(forms, other) {
			forms = append(forms, other)
		}
	}
	return forms
}

// visible reports whether a character is visible on its own: neither control, format,
// private, unassigned or surrogate, nor a space, nor one of those that Unicode makes
// displays ignore (fillers, joiners, variation selectors, tags).
func visible(c rune) bool {
	return unicode.IsGraphic(c) && !unicode.Is(unicode.Z, c) && c != utf8.RuneError && c != brailleBlank &&
		!unicode.In(c, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector)
}

const brailleBlank = '\u2800' // its category is symbol, but nothing is visible

func blank(c rune) bool { return unicode.IsSpace(c) || unicode.Is(unicode.Z, c) || c == brailleBlank }

func blankEdge(s string) bool { return strings.TrimFunc(s, blank) != s }

// dotSegment reports whether a client, a proxy or a library that resolves paths would
// change a path with the id in it, also if it treats "\" as "/".
func dotSegment(id string) bool {
	return slices.ContainsFunc(strings.FieldsFunc(id, func(c rune) bool { return c == '/' || c == '\\' }),
		func(segment string) bool { return segment == "." || segment == ".." })
}

const (
	nonJoiner       = '\u200c'
	joiner          = '\u200d'
	emojiStyle      = '\ufe0f'
	mongolianVowels = '\u180e' // the separator before a word's last vowel
)

// joined are the scripts that are written with joiners and non-joiners.
var joined = []*unicode.RangeTable{
	unicode.Arabic, unicode.Syriac, unicode.Mongolian, unicode.Nko, unicode.Mandaic, unicode.Phags_Pa,
	unicode.Devanagari, unicode.Bengali, unicode.Gurmukhi, unicode.Gujarati, unicode.Oriya, unicode.Tamil, unicode.Telugu,
	unicode.Kannada, unicode.Malayalam, unicode.Sinhala, unicode.Khmer, unicode.Myanmar, unicode.Tibetan, unicode.Balinese, unicode.Javanese,
}

// joins reports whether the text would be written wrongly without the character at i: a
// joiner within a script that has joiners, or within an emoji. Between other letters the
// character would be invisible.
func joins(all []rune, i int) bool {
	if i == 0 {
		return false
	}
	before := all[i-1]
	switch c := all[i]; {
	case c == emojiStyle:
		return unicode.Is(unicode.So, before)
	case unicode.Is(unicode.Mongolian, c) && unicode.Is(unicode.Variation_Selector, c):
		return unicode.Is(unicode.Mongolian, before)
	case i+1 == len(all):
		return false
	case c == mongolianVowels:
		return unicode.Is(unicode.Mongolian, before) && unicode.Is(unicode.Mongolian, all[i+1])
	case c == joiner && unicode.Is(unicode.So, all[i+1]):
		return unicode.In(before, unicode.So, unicode.Sk) || before == emojiStyle
	case c == joiner || c == nonJoiner:
		return unicode.In(before, joined...) && unicode.In(all[i+1], joined...)
	default:
		return false
	}
}
