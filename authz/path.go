package authz

import (
	"strings"
	"unicode/utf8"
)

const maxTargetLength = 8 << 10 // bytes of path and query together

// CanonicalPath returns the path that is judged, decoded, and the raw query.
// Whatever two parties behind the gateway could read differently is refused (ok
// false): dot segments, doubled slashes, backslashes, parameters (";"), a
// fragment, control characters, bytes outside ASCII, and the encoded forms of
// "/", "\", "%", ";", "?", "#" and of characters that need no encoding. Case is
// never folded.
//
// sanitised says that the gateway may have put "!" for bytes that it would not
// show; a path with "!" is then refused. repair is for operators who can't set
// the gateway's normalisation: dot segments are resolved, then slashes merged,
// backslashes turned and needless encodings undone, as Envoy does; the rest is
// refused all the same.
func CanonicalPath(target string, sanitised, repair bool) (path, query string, ok bool) {
	if len(target) == 0 || len(target) > maxTargetLength {
		return "", "", false
	}
	raw, query, _ := strings.Cut(target, "?")
	for i := range len(query) {
		if c := query[i]; c <= ' ' || c == 0x7f || c == '#' {
			return "", "", false
		}
	}
	if repair {
		raw = strings.ReplaceAll(raw, `\`, "/")
	}
	if raw == "" || raw[0] != '/' {
		return "", "", false
	}
	encoded := false
	for i := range len(raw) {
		switch c := raw[i]; {
		case c <= ' ', c >= 0x7f, c == '\\', c == ';', c == '#', c == '!' && sanitised:
			return "", "", false
		case c == '%':
			encoded = true
		}
	}
	path = raw
	if encoded {
		if path, ok = decodePath(raw, repair); !ok {
			return "", "", false
		}
	}
	if plainSegments(path) {
		return path, query, true
	}
	if !repair {
		return "", "", false
	}
	return mergeSlashes(resolveDots(path)), query, true
}

// decodePath undoes percent-encoding, but for what would then divide or mean
// something else than it did.
func decodePath(raw string, repair bool) (string, bool) {
	var b strings.Builder
	b.Grow(len(raw))
	for i := 0; i < len(raw); i++ {
		if raw[i] != '%' {
			b.WriteByte(raw[i])
			continue
		}
		if i+2 >= len(raw) {
			return "", false
		}
		hi, lo := unhex(raw[i+1]), unhex(raw[i+2])
		if hi < 0 || lo < 0 {
			return "", false
		}
		c := byte(hi<<4 | lo)
		switch {
		case c < ' ', c == 0x7f, strings.IndexByte(`/\%;?#`, c) >= 0, isUnreserved(c) && !repair:
			return "", false
		}
		b.WriteByte(c)
		i += 2
	}
	return b.String(), utf8.ValidString(b.String())
}

// isUnreserved is RFC 3986, 2.3: characters that no one needs to encode.
func isUnreserved(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' ||
		c == '-' || c == '.' || c == '_' || c == '~'
}

// plainSegments tells whether no segment is empty (but the last), "." or "..".
func plainSegments(path string) bool {
	for rest := path[1:]; rest != ""; {
		segment, after, more := strings.Cut(rest, "/")
		if segment == "" || segment == "." || segment == ".." {
			return false
		}
		if !more {
			return true
		}
		rest = after
	}
	return true
}

// resolveDots removes dot segments as RFC 3986, 5.2.4, does: before slashes are
// merged, so that "/a//..//admin" loses the empty segment and not "a".
func resolveDots(path string) string {
	segments := strings.Split(path[1:], "/")
	out := segments[:0]
	for i, s := range segments {
		last := i == len(segments)-1
		switch s {
		case ".":
		case "..":
			if len(out) > 0 {
				out = out[:len(out)-1]
			}
		default:
			out = append(out, s)
			continue
		}
		if last {
			out = append(out, "")
		}
	}
	return "/" + strings.Join(out, "/")
}

func mergeSlashes(path string) string {
	for strings.Contains(path, "//") {
		path = strings.ReplaceAll(path, "//", "/")
	}
	return path
}

// encodeTarget writes a judged path as a request target again, so that the
// upstream gets what was judged.
func encodeTarget(path, query string, hasQuery bool) string {
	const hex = "0123456789ABCDEF"
	b := make([]byte, 0, len(path)+len(query)+1)
	for i := range len(path) {
		// RFC 3986, 3.3: pchar and "/", but for ";", which is never judged.
		if c := path[i]; isUnreserved(c) || strings.IndexByte("/!$&'()*+,=:@", c) >= 0 {
			b = append(b, c)
		} else {
			b = append(b, '%', hex[c>>4], hex[c&15])
		}
	}
	if hasQuery {
		b = append(append(b, '?'), query...)
	}
	return string(b)
}
