package envoy

import (
	"unsafe"

	"google.golang.org/grpc/codes"

	"extauthz/authz"
)

// header is a name with its value: a header or a fact of an answer.
type header struct{ name, value string }

// answer is the content of a response to a check, not yet in a form: message turns it
// into a CheckResponse, appendWire into the bytes of that message, and a dialect into an
// HTTP response. Its memory is reused, and it borrows texts from the request. So it is
// valid until its next reset, and only as long as that request.
type answer struct {
	code  codes.Code // OK allows
	error bool       // not a denial but an error response: failure_mode_allow decides

	status  int      // if not allowed: the status of the client's response, never one that could mean "allowed"
	body    string   // the same
	grpc    grpcForm // if not allowed: the form of the client's gRPC call, if it is one
	headers []header // if allowed: to overwrite in the request; else of the client's response
	remove  []string // if allowed: to remove from the request; never a name that is in headers
	client  []header // if allowed: of the client's response

	facts []header   // dynamic metadata
	rate  authz.Rate // dynamic metadata too; zero: none

	sent [identityMetadata]string // the identity values that the upstream gets, by field; facts repeat them
	text []byte                   // scratch buffer for values that are stored nowhere else
}

func (a *answer) reset() {
	clear(a.headers)
	clear(a.remove)
	clear(a.client)
	clear(a.facts)
	*a = answer{headers: a.headers[:0], remove: a.remove[:0], client: a.client[:0], facts: a.facts[:0], text: a.text[:0]}
}

// wireStatus returns the status of a denial over gRPC. There the kind of response makes
// it a denial, so it may have any status.
func (a *answer) wireStatus() int {
	if a.grpc.trailersOnly() {
		return 200
	}
	return a.status
}

// wireBody returns the body that belongs to wireStatus.
func (a *answer) wireBody() string {
	if a.grpc.trailersOnly() {
		return ""
	}
	return a.body
}

func (a *answer) allowed() bool { return a.code == codes.OK }

func (a *answer) set(name, value string) { a.headers = append(a.headers, header{name, value}) }

func (a *answer) fact(name, value string) { a.facts = append(a.facts, header{name, value}) }

// since returns the text that was appended to a.text from start on. The string stays
// valid when a.text grows.
func (a *answer) since(start int) string { return borrowed(a.text[start:]) }

// headerText percent-encodes bytes that are not printable ASCII, "%" itself, and a space
// at either end. So the value can be decoded again, arrives whole, and can't break a
// header.
func (a *answer) headerText(s string) string {
	if plainText(s) && !blankEdge(s) {
		return s
	}
	start := len(a.text)
	a.text = appendHeaderText(a.text, s)
	return a.since(start)
}

// scopes returns the list of scopes as a header's value.
func (a *answer) scopes(scopes authz.Scopes) string {
	start := len(a.text)
	a.text = scopes.AppendText(a.text)
	return a.headerText(a.since(start))
}

// borrowed returns b as a string without copying: it changes when b does.
func borrowed(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

func named(headers []header, name string) bool {
	for i := range headers {
		if headers[i].name == name {
			return true
		}
	}
	return false
}
