package envoy

import (
	"encoding/json"
	"maps"
	"strconv"
	"strings"

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

// denied builds the answer that the client sees.
func (e *encoder) denied(d *authz.Decision, r *authz.Request) *authv3.DeniedHttpResponse {
	p := e.problem(d.Reason)
	headers := map[string]string{"cache-control": "no-store"}
	if p.Status == 401 {
		challenge := `Bearer realm="` + e.config.Realm + `"`
		if d.Reason != authz.ReasonMissing {
			challenge += `, error="invalid_token"` // RFC 6750, 3.1: only where a credential was sent
		}
		headers["www-authenticate"] = challenge
	}
	if d.Reason == authz.ReasonThrottled {
		headers["retry-after"] = strconv.Itoa(max(1, seconds(d.RetryAfter)))
		rateHeaders(&d.Limit, headers)
	}
	if e.config.DebugHeaders && d.Layer != authz.LayerNone {
		headers["x-cache-status"] = cacheStatus(d)
	}
	maps.Copy(headers, e.config.Overrides[p.Code].Headers)
	return e.refusal(p, headers, r)
}

// problem is the document for a reason, with the operator's overrides.
func (e *encoder) problem(reason authz.Reason) problem {
	p := problem{Title: reason.Title(), Status: reason.Status(), Detail: reason.Detail(), Code: reason.Code()}
	o := e.config.Overrides[p.Code]
	if o.Status != 0 {
		p.Status = o.Status
	}
	if o.Title != "" {
		p.Title = o.Title
	}
	if o.Detail != "" {
		p.Detail = o.Detail
	}
	return p
}

// undecided is the 503 for requests about which nobody could decide.
func (e *encoder) undecided(r *authz.Request) *authv3.DeniedHttpResponse {
	return e.refusal(problem{Title: "Service unavailable", Status: 503, Code: "unavailable",
		Detail: "The request could not be authorized just now. Try again."},
		map[string]string{"cache-control": "no-store", "retry-after": "1"}, r)
}

func (e *encoder) refusal(p problem, headers map[string]string, r *authz.Request) *authv3.DeniedHttpResponse {
	out := &authv3.DeniedHttpResponse{Status: &typev3.HttpStatus{Code: typev3.StatusCode(p.Status)}}
	if isGRPC(r) {
		// Envoy makes the body the grpc-message, so it is text for people.
		if p.Status == 429 {
			headers["grpc-status"] = strconv.Itoa(int(codes.ResourceExhausted))
		}
		out.Body = p.Detail
	} else {
		headers["content-type"] = "application/problem+json"
		p.Type = e.config.ProblemTypeBase
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
	}
	for _, name := range sortedKeys(headers) {
		out.Headers = append(out.Headers, option(name, headers[name]))
	}
	return out
}

func isGRPC(r *authz.Request) bool {
	return strings.HasPrefix(header(r, "content-type"), "application/grpc")
}
