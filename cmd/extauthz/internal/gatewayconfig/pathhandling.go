package gatewayconfig

// PathHandling says what a gateway does with a path before the check. Whichever it is,
// the upstream gets the path that was judged.
type PathHandling uint8

// The ways to handle paths.
const (
	// PathsNormalised resolves dot segments, merges slashes, undoes needless
	// encodings, and refuses encoded slashes.
	PathsNormalised PathHandling = iota
	// PathsEncoded does the same, but passes on encoded slashes. It is for rules that
	// treat encoded characters as data.
	PathsEncoded
	// PathsRaw passes on every byte unchanged. It is for upstreams such as object stores,
	// whose clients sign the path as they send it.
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
