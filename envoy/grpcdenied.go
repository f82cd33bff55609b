package envoy

import (
	"strings"

	"google.golang.org/grpc/codes"
)

// A denied gRPC call gets the response that gRPC defines: status 200, and headers that
// hold what a call's trailers hold (trailers only). Envoy converts any denial to this
// form if it recognises a gRPC call. It does not recognise grpc-web. Its grpc_web filter,
// which turns such a request into a gRPC call, converts no more of a denial than its
// status. So over gRPC this package writes that form itself. Over HTTP the status is what
// makes a denial, and 200 would allow the request.

// grpcForm is how a denied call is answered.
type grpcForm uint8

const (
	notGRPC   grpcForm = iota
	grpcCall           // a gRPC call, or one that Envoy's grpc_web filter made of grpc-web
	grpcWeb            // grpc-web, binary or text
	grpcOther          // a content type that begins like gRPC's, but is not gRPC to Envoy
)

const (
	grpcType    = "application/grpc"
	grpcWebType = "application/grpc-web"

	// webTypeHeader carries the content type of a denied grpc-web call through Envoy,
	// which drops the content type of a response without a body. Our configurations copy
	// it to content-type. A client that gets this header ignores it.
	webTypeHeader = "x-extauthz-content-type"
)

// trailersOnly reports whether the whole denial is in the headers.
func (f grpcForm) trailersOnly() bool { return f == grpcCall || f == grpcWeb }

func isGRPC(contentType string) bool { return hasPrefixFold(contentType, grpcType) }

func grpcFormOf(contentType string) grpcForm {
	switch {
	case hasPrefixFold(contentType, grpcWebType):
		return grpcWeb
	case contentType == grpcType || strings.HasPrefix(contentType, grpcType+"+"): // Envoy's own test
		return grpcCall
	}
	return grpcOther
}

func hasPrefixFold(s, prefix string) bool {
	return len(s) >= len(prefix) && strings.EqualFold(s[:len(prefix)], prefix)
}

// webType returns the content type of the answer to a grpc-web call: the call's own,
// without parameters, if it is valid.
func webType(contentType string) string {
	kind, _, _ := strings.Cut(contentType, ";")
	kind = lowerName(strings.TrimSpace(kind))
	suffix := strings.TrimPrefix(strings.TrimPrefix(kind, grpcWebType), "-text")
	if suffix == "" || len(suffix) <= maxCodecName && suffix[0] == '+' && ValidHeaderName(suffix[1:]) {
		return kind
	}
	return grpcWebType
}

// maxCodecName is the maximum length in bytes of a codec's name that an answer repeats.
const maxCodecName = 32

// grpcStatus returns the code that gRPC clients get for an HTTP status. It is the code
// that Envoy uses, except for 429, for which Envoy uses UNAVAILABLE.
func grpcStatus(status int) codes.Code {
	switch status {
	case 400:
		return codes.Internal
	case 401:
		return codes.Unauthenticated
	case 403:
		return codes.PermissionDenied
	case 404:
		return codes.Unimplemented
	case 429:
		return codes.ResourceExhausted
	case 502, 503, 504:
		return codes.Unavailable
	}
	return codes.Unknown
}
