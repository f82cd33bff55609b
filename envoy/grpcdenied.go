package envoy

import (
	"strings"

	"google.golang.org/grpc/codes"
)

// A denied gRPC call is answered as gRPC answers: with 200, and headers that say
// what the trailers of a call say (trailers only). Envoy makes the same of any
// denial where it sees a gRPC call. It sees none in grpc-web, though, nor does its
// grpc_web filter, which has called the request a gRPC call, make more of one than
// its status; so we write that form ourselves, over gRPC. Over HTTP it is a denial
// by its status, and 200 would allow.

// grpcForm is how a denied call is answered.
type grpcForm uint8

const (
	notGRPC   grpcForm = iota
	grpcCall           // a gRPC call, or one that Envoy's grpc_web filter made of grpc-web
	grpcWeb            // grpc-web, binary or text
	grpcOther          // what begins like gRPC and is none to Envoy
)

const (
	grpcType    = "application/grpc"
	grpcWebType = "application/grpc-web"

	// webTypeHeader brings the content type of a denied grpc-web call past Envoy,
	// which drops that of a response without a body. Our configurations make
	// content-type of it; a client that gets it as it is passes over it.
	webTypeHeader = "x-extauthz-content-type"
)

// trailersOnly reports whether the whole denial is in the headers.
func (f grpcForm) trailersOnly() bool { return f == grpcCall || f == grpcWeb }

func isGRPC(contentType string) bool { return hasPrefixFold(contentType, grpcType) }

func grpcFormOf(contentType string) grpcForm {
	switch {
	case hasPrefixFold(contentType, grpcWebType):
		return grpcWeb
	case contentType == grpcType || strings.HasPrefix(contentType, grpcType+"+"): // as Envoy asks
		return grpcCall
	}
	return grpcOther
}

func hasPrefixFold(s, prefix string) bool {
	return len(s) >= len(prefix) && strings.EqualFold(s[:len(prefix)], prefix)
}

// webType is the content type of the answer to a grpc-web call: that of the call,
// without parameters, where it is one.
func webType(contentType string) string {
	kind, _, _ := strings.Cut(contentType, ";")
	kind = lowerName(strings.TrimSpace(kind))
	suffix := strings.TrimPrefix(strings.TrimPrefix(kind, grpcWebType), "-text")
	if suffix == "" || len(suffix) <= maxCodecName && suffix[0] == '+' && ValidHeaderName(suffix[1:]) {
		return kind
	}
	return grpcWebType
}

// maxCodecName is the longest name of a codec that is said back, in bytes.
const maxCodecName = 32

// grpcStatus is the code that clients of gRPC get for an HTTP status, as Envoy has
// it, but for 429, which it has as UNAVAILABLE.
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
