package authz

import (
	"strings"
	"unicode/utf8"
)

// maxDecodings is how often a part of a path may be encoded over and over.
const maxDecodings = 4

// markEncoded returns a path for matching whose parameters and encoded characters
// are data: each segment decoded where it is plain, and else as it was sent,
// behind encodedMark. The fault is one that no rule makes data.
func markEncoded(raw string, sanitised bool) (string, PathFault) {
	var b strings.Builder
	b.Grow(len(raw) + 8)
	for segment := range strings.SplitSeq(raw[1:], "/") {
		b.WriteByte('/')
		if segment == "" {
			continue // judged below
		}
		plain, fault := plainPath("/"+segment, sanitised)
		switch {
		case fault == PathPlain:
			b.WriteString(plain[1:])
		case !fault.data():
			return "", fault
		default:
			if fault := dataFault(segment, sanitised); fault != PathPlain {
				return "", fault
			}
			b.WriteByte(encodedMark)
			b.WriteString(segment)
		}
	}
	marked := b.String()
	return marked, segmentsFault(marked)
}

// dataFault finds what is refused in a segment even where encoded characters are
// data: what no server takes, and dot segments, however often a server decodes,
// wherever it divides, and whether or not it drops parameters.
func dataFault(segment string, sanitised bool) PathFault {
	for i := range len(segment) {
		if c := segment[i]; c <= ' ' || c >= 0x7f || c == '\\' || c == '#' || c == '!' && sanitised {
			return characterFault(c)
		}
	}
	text := segment
	for depth := 0; ; depth++ {
		for part := range strings.FieldsFuncSeq(text, isSlash) {
			if isDots(before(part, ";?#")) {
				return PathDotSegment
			}
		}
		decoded, fault := decodeOnce(text)
		switch {
		case depth == 0 && fault != PathPlain:
			return fault
		case decoded == text:
			return PathPlain
		case depth == maxDecodings:
			return PathBadEncoding
		}
		text = decoded
	}
}

// decodeOnce undoes every percent-encoding once; a "%" without two hexadecimal
// digits stays. The fault is the first one of what is decoded.
func decodeOnce(text string) (string, PathFault) {
	if !strings.Contains(text, "%") {
		return text, PathPlain
	}
	var b strings.Builder
	b.Grow(len(text))
	fault := PathPlain
	for i := 0; i < len(text); i++ {
		c := text[i]
		if c == '%' {
			d, ok := unescape(text[i:])
			switch {
			case fault != PathPlain:
			case !ok:
				fault = PathBadEncoding
			case d < ' ', d == 0x7f:
				fault = PathEncodedControl
			}
			if ok {
				c, i = d, i+2
			}
		}
		b.WriteByte(c)
	}
	if fault == PathPlain && !utf8.ValidString(b.String()) {
		fault = PathBadEncoding
	}
	return b.String(), fault
}

// withoutParameters returns a marked path as servers read it that drop the
// parameters of a segment, encoded ones too, and then merge slashes.
func withoutParameters(marked string) string {
	var b strings.Builder
	b.Grow(len(marked))
	for rest, more := marked[1:], true; more; {
		var segment string
		segment, rest, more = strings.Cut(rest, "/")
		if strings.HasPrefix(segment, string(encodedMark)) {
			segment = segmentName(segment[1:])
		}
		if segment != "" || !more {
			b.WriteByte('/')
			b.WriteString(segment)
		}
	}
	return b.String()
}

// segmentName returns what stands before a segment's parameters: decoded where it
// is plain, marked where it is not.
func segmentName(segment string) string {
	end := len(segment)
	for i := range len(segment) {
		if c, ok := unescape(segment[i:]); segment[i] == ';' || ok && c == ';' {
			end = i
			break
		}
	}
	name := segment[:end]
	if name == "" {
		return ""
	}
	if plain, fault := plainPath("/"+name, false); fault == PathPlain {
		return plain[1:]
	}
	return string(encodedMark) + name
}

// anyReading tells whether f is true for one of the paths that a server could
// make of raw: decoded once or over and over, ended at "?" or "#", divided at "\"
// too, with slashes merged, with parameters and without, with a slash at its end
// and without.
func anyReading(raw string, f func(path string) bool) bool {
	text := raw
	for range maxDecodings + 1 {
		whole := before(text, "?#")
		var with, without strings.Builder
		for part := range strings.FieldsFuncSeq(whole, isSlash) {
			with.WriteString("/" + part)
			if name := before(part, ";"); name != "" {
				without.WriteString("/" + name)
			}
		}
		for _, path := range []string{with.String(), without.String()} {
			if path != "" && f(path) || f(path+"/") {
				return true
			}
		}
		decoded, _ := decodeOnce(text)
		if decoded == text {
			return false
		}
		text = decoded
	}
	return false
}

func isSlash(r rune) bool { return r == '/' || r == '\\' }

// before returns what stands before the first of the characters.
func before(s, chars string) string {
	if i := strings.IndexAny(s, chars); i >= 0 {
		return s[:i]
	}
	return s
}
