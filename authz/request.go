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
	// PathFixed is true if the adapter can't make the gateway pass on another path. A
	// path that needs repair is then refused.
	PathFixed bool
	// HeadersFixed is true if the adapter can't make the gateway remove a header or a
	// cookie. A request is then refused if it has a key in one that is neither a source
	// of keys nor stripped by the gateway's configuration.
	HeadersFixed bool
	// Stripped names, in lower case, the headers that the gateway strips by its own
	// configuration. It counts only with HeadersFixed.
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

	// Scratch is memory that the key may be read into, and that the Decision then
	// borrows. It is nil if parts of the Decision outlive the Request.
	Scratch *Scratch

	found   []FoundCredential // scratch buffer of Decision.Credentials, used again with the Request
	decoded []byte            // decoded values of the scheme Basic, used again too
}

// maxDecodedKept bounds the memory for decoded values that Reset keeps, in bytes.
const maxDecodedKept = 8 << 10

// Reset empties the Request, so that it can be used for another request without
// allocation: its Scratch and the memory of its slices stay. What a Decision has borrowed
// from it is no longer valid.
func (r *Request) Reset() {
	clear(r.Headers)
	clear(r.found)
	clear(r.decoded)
	if cap(r.decoded) > maxDecodedKept {
		r.decoded = nil
	}
	*r = Request{Headers: r.Headers[:0], found: r.found[:0], decoded: r.decoded[:0], Scratch: r.Scratch}
}

// GatewayRoute is the gateway's own route that a request matched, as the gateway's route
// metadata describes it; the zero GatewayRoute if there is none. The authors of the
// routes in the cluster write it.
type GatewayRoute struct {
	Kind, Namespace, Name string // of the Kubernetes resource, such as HTTPRoute

	Resource, Action string // from its annotations
	Anonymous        bool
}

// Header is one header line.
type Header struct {
	Name  string // lower case
	Value string
	// Sanitised is true if the gateway joined duplicates with "," and replaced bytes that
	// are not UTF-8 by "!". A value with either character can then not be a credential.
	Sanitised bool
}
