package authz

// PathFault names the part of a request target or host for which the request is refused.
// The set is closed: each fault has a name and a text of its own.
type PathFault uint8

// The faults. The zero PathFault, PathPlain, means that there is none.
const (
	PathPlain PathFault = iota
	PathMissing
	PathTooLong
	QueryTooLong
	QueryCharacter
	PathCharacter
	PathSanitised
	PathBackslash
	PathDotSegment
	PathEmptySegment
	PathParameter
	PathEncodedDelimiter
	PathNeedlessEncoding
	PathEncodedControl
	PathBadEncoding
	PathEncodedEnd
	PathOtherRule
	HostNotPlain
	pathFaultCount
)

const (
	encodedHint = " Send the path without it. The operator's setting for paths in which it is data: encoded: allow on the rule (whose resource then holds no wildcard), or paths.encoded where no rule matches."
	repairHint  = " Send the path that it means. The operator's settings: the gateway's path normalisation, or paths.repair."
)

var pathFaults = [pathFaultCount]struct{ name, detail string }{
	PathPlain:            {"", "The request's path or host is not in its plain form."},
	PathMissing:          {"no_path", `The request target is not a path that begins with "/".`},
	PathTooLong:          {"path_too_long", "The request's path is too long. Send a shorter one. The operator's setting: paths.max_path_bytes."},
	QueryTooLong:         {"query_too_long", "The request's query is too long. Send a shorter one, or send it in a body. The operator's setting: paths.max_query_bytes."},
	QueryCharacter:       {"query_character", `The request's query holds a space, a control character or "#". Percent-encode it.`},
	PathCharacter:        {"character", `The request's path holds a space, a control character, "#" or a byte outside ASCII. Percent-encode it.`},
	PathSanitised:        {"sanitised", `The request's path holds "!", which here may replace a byte that the gateway does not pass on. Send %21. The operator's setting: encode_raw_headers in the gateway, over gRPC.`},
	PathBackslash:        {"backslash", `The request's path holds a backslash.` + repairHint},
	PathDotSegment:       {"dot_segment", `The request's path holds a dot segment ("." or ".."), plain, encoded or before parameters.` + repairHint},
	PathEmptySegment:     {"empty_segment", `The request's path holds a doubled slash ("//"). Send the path that it means. The operator's settings: merging of slashes in the gateway or paths.repair, or encoded: allow on the rule and paths.encoded for paths in which it is data.`},
	PathParameter:        {"parameter", `The request's path holds a parameter (";").` + encodedHint},
	PathEncodedDelimiter: {"encoded_delimiter", `The request's path holds an encoded "/", "\", "%", ";", "?" or "#", such as %2F.` + encodedHint},
	PathNeedlessEncoding: {"needless_encoding", `The request's path holds an encoded letter, digit, "-", ".", "_" or "~", such as %7E. Send the character itself. The operator's settings for clients that can't: the gateway's path normalisation, encoded: allow on the rule, paths.encoded where no rule matches, or paths.repair.`},
	PathEncodedControl:   {"encoded_control", "The request's path holds an encoded control character, such as %00. Send the path without it."},
	PathBadEncoding:      {"bad_encoding", `The request's path holds a "%" without two hexadecimal digits behind it, encoded bytes that are not UTF-8, or characters that are encoded over and over. Percent-encode each byte of UTF-8 once.`},
	PathEncodedEnd:       {"encoded_end", `The request's path ends as a rule requires, but with encoded characters, such as %3Acancel for :cancel. Send them plain.`},
	PathOtherRule:        {"other_rule", "The request's path holds encoded characters, parameters or doubled slashes, and servers that drop or decode them read it as a path for which another rule decides. Send the path that is meant, without them."},
	HostNotPlain:         {"host", "The request's host is not a plain host name or address. Send it without user, path, or empty labels."},
}

func (f PathFault) info() *struct{ name, detail string } {
	if f >= pathFaultCount {
		f = PathPlain
	}
	return &pathFaults[f]
}

// String returns the fault's name in logs; "" for none.
func (f PathFault) String() string { return f.info().name }

// Detail is the public message: the offending part, what to do, and the setting by
// which an operator can accept it, if there is one.
func (f PathFault) Detail() string { return f.info().detail }

// data reports whether a rule may declare the part to be data.
func (f PathFault) data() bool {
	return f == PathParameter || f == PathEncodedDelimiter || f == PathNeedlessEncoding || f == PathEmptySegment
}

// PathFaults returns every fault. It is for texts that are prepared in advance and for
// documentation.
func PathFaults() []PathFault {
	all := make([]PathFault, 0, pathFaultCount)
	for f := PathMissing; f < pathFaultCount; f++ {
		all = append(all, f)
	}
	return all
}
