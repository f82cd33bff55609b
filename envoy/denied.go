package envoy

import (
	"encoding/json"
	"strconv"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/grpc/codes"

	"extauthz/authz"
)

const blankType = "about:blank"

// problem is the document that a refused client gets (RFC 9457).
type problem struct {
	Type     string `json:"type"`
	Title    string `json:"title"`
	Status   int    `json:"status"`
	Detail   string `json:"detail"`
	Code     string `json:"code"`
	Instance string `json:"instance,omitempty"`
}

// denialCode is the gRPC code beside an HTTP status. It is never OK: that would
// allow, whatever else the response says.
func denialCode(status int) codes.Code {
	switch status {
	case 400:
		return codes.InvalidArgument
	case 401:
		return codes.Unauthenticated
	case 429:
		return codes.ResourceExhausted
	case 503:
		return codes.Unavailable
	}
	return codes.PermissionDenied
}

func (e *encoder) denied(d *authz.Decision, r *authz.Request) *authv3.DeniedHttpResponse {
	status := d.Reason.Status()
	out := &authv3.DeniedHttpResponse{
		Status:  &typev3.HttpStatus{Code: typev3.StatusCode(status)},
		Headers: []*corev3.HeaderValueOption{option("cache-control", "no-store")},
	}
	add := func(name, value string) { out.Headers = append(out.Headers, option(name, value)) }
	if status == 401 {
		challenge := `Bearer realm="` + e.config.Realm + `"`
		if d.Reason != authz.ReasonMissing {
			challenge += `, error="invalid_token"` // RFC 6750, 3.1: only where a credential was sent
		}
		add("www-authenticate", challenge)
	}
	if d.Reason == authz.ReasonThrottled {
		add("retry-after", strconv.Itoa(max(1, int((d.RetryAfter+time.Second-1)/time.Second))))
	}
	if e.config.DebugHeaders && d.Layer != authz.LayerNone {
		add("x-cache-status", cacheStatus(d))
	}
	if isGRPC(r) {
		// Envoy makes the body the grpc-message, so it is text for people.
		if status == 429 {
			add("grpc-status", strconv.Itoa(int(codes.ResourceExhausted)))
		}
		out.Body = d.Reason.Detail()
		return out
	}
	add("content-type", "application/problem+json")
	p := problem{Type: e.config.ProblemTypeBase, Title: d.Reason.Title(), Status: status, Detail: d.Reason.Detail(), Code: d.Reason.Code()}
	if p.Type != blankType {
		p.Type += p.Code
	}
	if e.config.RequestID {
		p.Instance = headerText(header(r, "x-request-id"))
	}
	body, err := json.Marshal(p)
	if err != nil { // can't be: plain strings and a number
		body = nil
	}
	out.Body = string(body)
	return out
}

func isGRPC(r *authz.Request) bool {
	return strings.HasPrefix(header(r, "content-type"), "application/grpc")
}
