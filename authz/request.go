package authz

import "net/netip"

// Request is the request to decide about, in the form that every adapter produces. It
// borrows its strings from the adapter and is valid only while Check runs.
type Request struct {
	Method string // as sent; "" where the gateway did not say
	Scheme string // "http" or "https" as the gateway saw it
	Host   string // authority as sent, port included

	// Path is the request target, undecoded, with its query. Empty for CONNECT.
	Path string
	// PathSanitised is true where bytes that are not UTF-8 may have been
	// replaced by '!' on the way here (Envoy does so in its plain form).
	PathSanitised bool
	// PathFixed is true where the gateway can't be given another path than the one
	// that it passes on: such a path is refused instead of repaired.
	PathFixed bool
	// HeadersFixed is true if the adapter can't make the gateway remove a header or a
	// cookie: a key in one that the gateway's configuration does not strip is then
	// refused.
	HeadersFixed bool
	// Stripped names, in lower case, the headers that the gateway then strips by
	// its own configuration.
	Stripped []string

	// Headers holds the request's headers in lower case, duplicates separate. An
	// adapter may leave out those that [Authorizer.Headers] does not name.
	Headers []Header

	Peer netip.Addr // TCP peer of the gateway; the zero Addr where unknown

	// ContextResource and ContextAction come from the gateway's own route
	// configuration (Envoy's context extensions resource and action).
	ContextResource string
	ContextAction   string

	Route GatewayRoute

	// Scratch is where the key may be read into, and is then part of what the
	// Decision borrows. Nil if parts of the Decision outlive the Request.
	Scratch *Scratch

	found   []FoundCredential // scratch buffer of Decision.Credentials, used again with the Request
	decoded []byte            // what values of the scheme Basic encode, used again too
}

// maxDecodedKept bounds the memory that a Request keeps for another one, in bytes.
const maxDecodedKept = 8 << 10

// Reset empties the Request and keeps its Scratch and the memory that its slices
// have, so that it can be used for another one without allocation. What a
// Decision borrowed from it ends.
func (r *Request) Reset() {
	clear(r.Headers)
	clear(r.found)
	clear(r.decoded)
	if cap(r.decoded) > maxDecodedKept {
		r.decoded = nil
	}
	*r = Request{Headers: r.Headers[:0], found: r.found[:0], decoded: r.decoded[:0], Scratch: r.Scratch}
}

// GatewayRoute is the gateway's own route that a request matched there, by its metadata;
// the zero GatewayRoute if there is none. The authors of routes in the cluster write
// this.
type GatewayRoute struct {
	Kind, Namespace, Name string // of the Kubernetes resource, such as HTTPRoute

	Resource, Action string // from its annotations
	Anonymous        bool
}

// Header is one header line.
type Header struct {
	Name  string // lower case
	Value string
	// Sanitised is true where duplicates were joined with "," and bytes that
	// are not UTF-8 became "!": such a value with either can't be a credential.
	Sanitised bool
}
