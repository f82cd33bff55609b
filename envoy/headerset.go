package envoy

// headerSet is which of a request's headers are read: those that decisions rest
// on, those that are told of, and all under the identity prefix.
type headerSet struct {
	lengths uint64 // bit n: a name of n bytes is among names; the last one: of that many or more
	names   map[string]struct{}
	prefix  string
}

const longName = 63

func newHeaderSet(names []string, prefix string) headerSet {
	s := headerSet{names: map[string]struct{}{}, prefix: prefix}
	for _, name := range append([]string{"content-type", "x-request-id"}, names...) {
		s.names[name] = struct{}{}
		s.lengths |= 1 << min(len(name), longName)
	}
	return s
}

// has tells whether a header of this lower-case name is read. It does not
// allocate, and mostly looks at the name's length alone.
func (s *headerSet) has(name string) bool {
	if s.lengths>>min(len(name), longName)&1 != 0 {
		if _, ok := s.names[name]; ok {
			return true
		}
	}
	return hasIdentityPrefix(name, s.prefix)
}
