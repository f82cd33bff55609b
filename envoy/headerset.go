package envoy

import "slices"

// headerSet defines which of a request's headers are read: those that decisions depend
// on, those that answers and logs use, and those that no client may send on.
type headerSet struct {
	lengths uint64 // bit n: names has one of n bytes; the last bit: one of that many bytes or more
	names   []string
	own     *ownNames
}

// AnswerHeaders returns the lower-case names of the headers that answers and logs use:
// the content type, by which gRPC clients are known, and the request's id.
func AnswerHeaders() []string { return []string{"content-type", "x-request-id"} }

const longName = 63

func newHeaderSet(names []string, own *ownNames) headerSet {
	s := headerSet{names: slices.Concat(AnswerHeaders(), names), own: own}
	for _, name := range s.names {
		s.lengths |= 1 << min(len(name), longName)
	}
	return s
}

// find reports whether a header is read, and returns its name in lower case. It does not
// allocate for names in lower case, and usually compares only the length.
func (s *headerSet) find(sent string) (name string, ok bool) {
	if s.lengths>>min(len(sent), longName)&1 != 0 {
		name = lowerName(sent)
		for _, wanted := range s.names {
			if name == wanted {
				return wanted, true
			}
		}
	}
	if !s.own.claim(sent) {
		return "", false
	}
	return lowerName(sent), true
}

func lowerByte(c byte) byte {
	if c >= 'A' && c <= 'Z' {
		return c + ('a' - 'A')
	}
	return c
}

// lowerName returns a header's name in lower case, as HTTP defines it. It converts ASCII
// letters only, so that no other letter becomes an ASCII one.
func lowerName(name string) string {
	for i := range len(name) {
		if lowerByte(name[i]) != name[i] {
			b := []byte(name)
			for ; i < len(b); i++ {
				b[i] = lowerByte(b[i])
			}
			return string(b)
		}
	}
	return name
}
