package authz

import (
	"strings"
	"unicode/utf8"
)

// The bounds of request targets where none are configured, in bytes. Envoy's own
// default bound is 60 KiB for all of a request's headers together.
const (
	DefaultMaxPath  = 8 << 10
	DefaultMaxQuery = 32 << 10
)

// PathPolicy defines which request targets are judged. The zero PathPolicy is the
// strict one.
type PathPolicy struct {
	// Repair is for operators that can't set the gateway's normalisation: needless
	// encodings are undone, "\" becomes "/", dot segments are resolved, then slashes
	// merged, as Envoy does. A path that needs no repair stays as it was sent.
	Repair bool
	// Encoded accepts encoded characters as data in paths that no rule matches. It is for
	// default routes that do not take the resource from the path.
	Encoded bool

	MaxPath, MaxQuery int // in bytes; 0 is the default
}

// JudgedPath is a request target as it is judged.
type JudgedPath struct {
	Path  string // decoded; as it was sent where Match differs
	Query string // raw
	// Match is the path that rules are compared with. It equals Path unless an encoded
	// character is data. Then each segment that holds one begins with encodedMark, so
	// that wildcards match it and literals do not.
	Match string
	// Target is the repaired target, to be passed on instead of the request's; "" if
	// nothing was repaired.
	Target string
}

// encodedMark begins a segment that is matched as it was sent. No other path contains
// this byte, encoded or not.
const encodedMark = '\x00'

// Judge returns the path that is judged, or the fault for which the target is refused. It
// refuses everything that two parties behind the gateway could read differently: dot
// segments, doubled slashes, backslashes, parameters (";"), a fragment, control
// characters, bytes outside ASCII, and the encoded forms of "/", "\", "%", ";", "?", "#"
// and of characters that need no encoding. Case is never folded.
//
// A rule of routes, or the policy where no rule matches, may accept parameters and these
// encoded forms as data. They are then part of the segment that a wildcard matches. Dot
// segments stay refused, however a server may read that segment.
//
// sanitised means that the gateway may have replaced bytes by "!"; a path with "!" is
// then refused. Judge allocates nothing but the decoded path, if the target has no such
// data and needs no repair.
func (p *PathPolicy) Judge(routes *RouteTable, method, host, target string, sanitised bool) (JudgedPath, PathFault) {
	raw, query, hasQuery := strings.Cut(target, "?")
	if fault := p.bounds(raw, query); fault != PathPlain {
		return JudgedPath{}, fault
	}
	judged, fault := p.judge(routes, method, host, raw, sanitised)
	if fault != PathPlain && p.Repair && raw != "" {
		repaired := repairPath(raw)
		if repaired == raw {
			return JudgedPath{}, fault
		}
		if judged, fault = p.judge(routes, method, host, repaired, sanitised); fault == PathPlain {
			judged.Target = repaired
			if hasQuery {
				judged.Target += "?" + query
			}
		}
	}
	if fault != PathPlain {
		return JudgedPath{}, fault
	}
	judged.Query = query
	return judged, PathPlain
}

func (p *PathPolicy) bounds(raw, query string) PathFault {
	maxPath, maxQuery := p.MaxPath, p.MaxQuery
	if maxPath == 0 {
		maxPath = DefaultMaxPath
	}
	if maxQuery == 0 {
		maxQuery = DefaultMaxQuery
	}
	if len(raw) > maxPath {
		return PathTooLong
	}
	if len(query) > maxQuery {
		return QueryTooLong
	}
	for i := range len(query) {
		if c := query[i]; c <= ' ' || c == 0x7f || c == '#' {
			return QueryCharacter
		}
	}
	return PathPlain
}

func (p *PathPolicy) judge(routes *RouteTable, method, host, raw string, sanitised bool) (JudgedPath, PathFault) {
	path, fault := plainPath(raw, sanitised)
	if fault == PathPlain {
		if len(path) != len(raw) && routes.endsEncoded(method, host, path, raw) {
			return JudgedPath{}, PathEncodedEnd
		}
		return JudgedPath{Path: path, Match: path}, PathPlain
	}
	if !fault.data() {
		return JudgedPath{}, fault
	}
	marked, worse := markEncoded(raw, sanitised)
	if worse != PathPlain {
		return JudgedPath{}, worse
	}
	if fault = p.dataFault(routes, method, host, raw, marked, fault); fault != PathPlain {
		return JudgedPath{}, fault
	}
	return JudgedPath{Path: raw, Match: marked}, PathPlain
}

// dataFault returns PathPlain if encoded characters are data in this path, else the
// fault. They are data if the path's rule says so, and the same rule matches however a
// server decodes single segments. Without a rule they are data if the policy says so, and
// no rule matches however a server decodes the whole path.
func (p *PathPolicy) dataFault(routes *RouteTable, method, host, raw, marked string, fault PathFault) PathFault {
	rule := routes.find(method, host, marked)
	switch {
	case rule == nil && !p.Encoded, rule != nil && !rule.Encoded:
		return fault
	case rule == nil && anyReading(raw, func(path string) bool { return routes.find(method, host, path) != nil }),
		rule != nil && anySegmentReading(marked, func(path string) bool { return routes.find(method, host, path) != rule }):
		return PathOtherRule
	}
	return PathPlain
}

// plainPath returns the path decoded, or the first fault that it has.
func plainPath(raw string, sanitised bool) (path string, fault PathFault) {
	if raw == "" || raw[0] != '/' {
		return "", PathMissing
	}
	encoded := false
	for i := range len(raw) {
		switch c := raw[i]; {
		case c == '%':
			encoded = true
		case c == ';':
			return "", PathParameter
		case c <= ' ', c >= 0x7f, c == '\\', c == '#', c == '!' && sanitised:
			return "", characterFault(c)
		}
	}
	path = raw
	if encoded {
		if path, fault = decodePath(raw); fault != PathPlain {
			return "", fault
		}
	}
	return path, segmentsFault(path)
}

func characterFault(c byte) PathFault {
	switch c {
	case '\\':
		return PathBackslash
	case '!':
		return PathSanitised
	}
	return PathCharacter
}

// decodePath undoes percent-encoding, except of characters that would then divide the
// path or change its meaning.
func decodePath(raw string) (string, PathFault) {
	var b strings.Builder
	b.Grow(len(raw))
	for i := 0; i < len(raw); i++ {
		if raw[i] != '%' {
			b.WriteByte(raw[i])
			continue
		}
		c, ok := unescape(raw[i:])
		switch {
		case !ok:
			return "", PathBadEncoding
		case c < ' ', c == 0x7f:
			return "", PathEncodedControl
		case strings.IndexByte(`/\%;?#`, c) >= 0:
			return "", PathEncodedDelimiter
		case isUnreserved(c):
			return "", PathNeedlessEncoding
		}
		b.WriteByte(c)
		i += 2
	}
	if !utf8.ValidString(b.String()) {
		return "", PathBadEncoding
	}
	return b.String(), PathPlain
}

// unescape reads the percent-encoding that s begins with.
func unescape(s string) (c byte, ok bool) {
	if len(s) < 3 || s[0] != '%' {
		return 0, false
	}
	hi, lo := unhex(s[1]), unhex(s[2])
	return byte(hi<<4 | lo), hi >= 0 && lo >= 0
}

// isUnreserved reports whether a character never needs encoding (RFC 3986, 2.3).
func isUnreserved(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' ||
		c == '-' || c == '.' || c == '_' || c == '~'
}

// segmentsFault finds a segment that is empty (but the last), "." or "..".
func segmentsFault(path string) PathFault {
	for rest := path[1:]; rest != ""; {
		segment, after, more := strings.Cut(rest, "/")
		switch {
		case segment == "":
			return PathEmptySegment
		case isDots(segment):
			return PathDotSegment
		case !more:
			return PathPlain
		}
		rest = after
	}
	return PathPlain
}

func isDots(segment string) bool { return segment == "." || segment == ".." }

// repairPath returns a path as Envoy's normalisation leaves it, with every necessary
// encoding as it was sent. A path that has a "%" without two hexadecimal digits stays as
// it is.
func repairPath(raw string) string {
	var b strings.Builder
	b.Grow(len(raw))
	for i := 0; i < len(raw); i++ {
		c := raw[i]
		switch c {
		case '\\':
			c = '/'
		case '%':
			d, ok := unescape(raw[i:])
			if !ok {
				return raw
			}
			if isUnreserved(d) {
				c, i = d, i+2
			}
		}
		b.WriteByte(c)
	}
	path := b.String()
	if path[0] != '/' || segmentsFault(path) == PathPlain {
		return path
	}
	return mergeSlashes(resolveDots(path))
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
