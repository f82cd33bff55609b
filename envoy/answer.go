package envoy

import (
	"unsafe"

	"google.golang.org/grpc/codes"

	"extauthz/authz"
)

// header is a name and a value that the answer gives to it.
type header struct{ name, value string }

// answer is what is sent of a decision, in no form yet: message makes a
// CheckResponse of it, appendWire that message's bytes, a dialect a response in
// HTTP. Its memory is used again, so it is valid until the next reset, and as
// long as the request whose texts it borrows.
type answer struct {
	code  codes.Code // OK allows
	error bool       // not a denial but an error response: failure_mode_allow decides

	status  int      // of the client's response, where it is not allowed: never one that could mean "allowed"
	body    string   // the same
	grpc    grpcForm // the same: the client's call, if it is one
	headers []header // allowed: of the request, to overwrite; else of the client's response
	remove  []string // from the allowed request; never a name that is in headers
	client  []header // allowed: of the client's response

	facts []header   // dynamic metadata
	rate  authz.Rate // dynamic metadata too; zero: none

	sent [identityMetadata]string // what the upstream gets of a key, by field: facts repeat it
	text []byte                   // scratch buffer of values that are in no other memory
}

func (a *answer) reset() {
	clear(a.headers)
	clear(a.remove)
	clear(a.client)
	clear(a.facts)
	*a = answer{headers: a.headers[:0], remove: a.remove[:0], client: a.client[:0], facts: a.facts[:0], text: a.text[:0]}
}

// wireStatus is the status over gRPC, where a denial is one by its kind and may have any status.
func (a *answer) wireStatus() int {
	if a.grpc.trailersOnly() {
		return 200
	}
	return a.status
}

// wireBody goes with wireStatus.
func (a *answer) wireBody() string {
	if a.grpc.trailersOnly() {
		return ""
	}
	return a.body
}

func (a *answer) allowed() bool { return a.code == codes.OK }

func (a *answer) set(name, value string) { a.headers = append(a.headers, header{name, value}) }

func (a *answer) fact(name, value string) { a.facts = append(a.facts, header{name, value}) }

// since returns what was put into a.text from start on. It stays as it is when
// a.text grows.
func (a *answer) since(start int) string { return borrowed(a.text[start:]) }

// headerText percent-encodes what is not printable ASCII, "%" itself and a space
// at either end, so that it can be read back, arrives whole and no value can break
// a header.
func (a *answer) headerText(s string) string {
	if plainText(s) && !blankEdge(s) {
		return s
	}
	start := len(a.text)
	a.text = appendHeaderText(a.text, s)
	return a.since(start)
}

// scopes is the list of scopes as a header's value.
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
