package authz

import (
	"strings"
	"unicode/utf8"
)

// maxDecodings is how many times a part of a path may be encoded.
const maxDecodings = 4

// markEncoded returns a path to match whose parameters, encoded characters and empty
// segments are data. A segment without them is decoded. Any other segment stays as it was
// sent, behind encodedMark. A fault is returned only if no rule can accept it as data.
func markEncoded(raw string, sanitised bool) (string, PathFault) {
	var b strings.Builder
	b.Grow(len(raw) + 8)
	for rest, more := raw[1:], true; more; {
		var segment string
		segment, rest, more = strings.Cut(rest, "/")
		b.WriteByte('/')
		if segment == "" {
			if more { // an empty last segment is a slash at the end
				b.WriteByte(encodedMark)
			}
			continue
		}
		plain, fault := plainPath("/"+segment, sanitised)
		switch {
		case fault == PathPlain:
			b.WriteString(plain[1:])
		case !fault.data():
			return "", fault
		default:
			if fault := neverData(segment, sanitised); fault != PathPlain {
				return "", fault
			}
			b.WriteByte(encodedMark)
			b.WriteString(segment)
		}
	}
	return b.String(), PathPlain
}

// neverData finds what is refused in a segment even if encoded characters are data:
// characters that no server accepts, and dot segments. It finds a dot segment however
// often a server decodes, wherever it divides, and whether or not it drops parameters.
func neverData(segment string, sanitised bool) PathFault {
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
// digits stays. The fault is the first one in the decoded text.
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

// hiddenSlash replaces a "/" that a segment holds once it is decoded. No path and
// no rule has this byte otherwise.
const hiddenSlash = '\x01'

// anySegmentReading reports whether f is true for one of the paths that servers make of a
// marked path, if they divide it first and then read single segments. They may keep or
// drop parameters, decode not at all, once or repeatedly, and keep or drop empty
// segments.
func anySegmentReading(marked string, f func(path string) bool) bool {
	for _, read := range [...]func(string) string{wholeSegment, beforeParameters, beforeAnyParameters} {
		for depth := range maxDecodings + 1 {
			kept, merged := readSegments(marked, read, depth)
			if f(kept) || f(merged) {
				return true
			}
		}
	}
	return false
}

func wholeSegment(segment string) string { return segment }

// beforeParameters reads a segment like servers for which an encoded ";" is data.
func beforeParameters(segment string) string { return before(segment, ";") }

func beforeAnyParameters(segment string) string {
	for i := range len(segment) {
		if c, ok := unescape(segment[i:]); segment[i] == ';' || ok && c == ';' {
			return segment[:i]
		}
	}
	return segment
}

// readSegments reads each marked segment of a path and decodes it the given number of
// times. kept is the path with its empty segments. merged is the path without them,
// except for an empty last one.
func readSegments(marked string, read func(segment string) string, decodings int) (kept, merged string) {
	var all, some strings.Builder
	for rest, more := marked[1:], true; more; {
		var segment string
		segment, rest, more = strings.Cut(rest, "/")
		if strings.HasPrefix(segment, string(encodedMark)) {
			segment = read(segment[1:])
			for range decodings {
				segment, _ = decodeOnce(segment)
			}
			segment = strings.ReplaceAll(segment, "/", string(hiddenSlash))
		}
		all.WriteString("/" + segment)
		if segment != "" || !more {
			some.WriteString("/" + segment)
		}
	}
	return all.String(), some.String()
}

// anyReading reports whether f is true for one of the paths that a server could make of
// raw. Servers differ in how often they decode, whether they end the path at "?" or "#",
// whether they divide at "\" too, and whether they keep parameters, doubled slashes and a
// slash at the end.
func anyReading(raw string, f func(path string) bool) bool {
	text := raw
	for range maxDecodings + 1 {
		for _, whole := range [...]string{text, before(text, "?#")} {
			for _, path := range [...]string{whole, strings.ReplaceAll(whole, `\`, "/")} {
				for _, path := range [...]string{path, eachSegment(path, beforeParameters)} {
					for _, path := range [...]string{path, mergeSlashes(path)} {
						if f(path) || f(path+"/") || f(strings.TrimSuffix(path, "/")) {
							return true
						}
					}
				}
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

// eachSegment returns the path with each segment as read returns it.
func eachSegment(path string, read func(segment string) string) string {
	var b strings.Builder
	b.Grow(len(path))
	for rest, more := path, true; more; {
		var segment string
		segment, rest, more = strings.Cut(rest, "/")
		b.WriteString(read(segment))
		if more {
			b.WriteByte('/')
		}
	}
	return b.String()
}

func isSlash(r rune) bool { return r == '/' || r == '\\' }

// before returns what comes before the first of the characters.
func before(s, chars string) string {
	if i := strings.IndexAny(s, chars); i >= 0 {
		return s[:i]
	}
	return s
}
