package gatewayconfig

// PathHandling is what a printed configuration has the gateway do with a path
// before it is judged. Whichever it is, the path that is judged is the path that
// the upstream gets.
type PathHandling uint8

// The ways to handle paths.
const (
	// PathsNormalised resolves dot segments, merges slashes, undoes needless
	// encodings, and refuses encoded slashes.
	PathsNormalised PathHandling = iota
	// PathsEncoded does the same, but passes encoded slashes on: for rules to which
	// encoded characters are data.
	PathsEncoded
	// PathsRaw passes every byte on, for upstreams that need them, such as object
	// stores, whose clients sign the path as they send it.
	PathsRaw
)

// Normalise reports whether the gateway changes paths.
func (p PathHandling) Normalise() bool { return p != PathsRaw }

// RefuseEscapedSlashes reports whether the gateway refuses encoded slashes itself.
func (p PathHandling) RefuseEscapedSlashes() bool { return p == PathsNormalised }

// EscapedSlashes is the value of Envoy's path_with_escaped_slashes_action.
func (p PathHandling) EscapedSlashes() string {
	if p.RefuseEscapedSlashes() {
		return "REJECT_REQUEST"
	}
	return "KEEP_UNCHANGED"
}
