package envoy

import (
	"encoding/json"
	"maps"
	"slices"
	"strconv"

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
	Instance string `json:"instance,omitempty"` // set for each request
}

// denialCode is the gRPC code that belongs to an HTTP status. It is never OK: that
// would allow, whatever the rest of the response contains.
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

// refusal is the part that all denials for one reason have in common. It is made in
// advance.
type refusal struct {
	code     codes.Code
	status   int
	headers  []header // for all clients
	http     []header // in addition, for clients that don't use gRPC
	grpc     []header // in addition, for gRPC clients: what a call's trailers contain
	document string   // a problem document, without an instance
	detail   string   // the body for gRPC clients instead: text for people
}

func (e *encoder) refusal(reason authz.Reason) *refusal {
	return e.refusalFor(reason, reason.Detail())
}

// refusalFor is refusal with the given detail, unless an override replaces it.
func (e *encoder) refusalFor(reason authz.Reason, detail string) *refusal {
	p := e.problem(reason, detail)
	headers := map[string]string{"cache-control": "no-store"}
	if p.Status == 401 {
		headers["www-authenticate"] = e.challenges(reason != authz.ReasonMissing)
	}
	maps.Copy(headers, e.config.Overrides[p.Code].Headers)
	return e.refusalOf(p, headers)
}

// unavailable is the 503 for requests about which no decision could be made.
func (e *encoder) unavailable() *refusal {
	return e.refusalOf(problem{Title: "Service unavailable", Status: 503, Code: "unavailable",
		Detail: "The request could not be authorized just now. Try again."},
		map[string]string{"cache-control": "no-store", "retry-after": "1"})
}

func (e *encoder) refusalOf(p problem, headers map[string]string) *refusal {
	out := &refusal{code: denialCode(p.Status), status: p.Status, detail: p.Detail, http: []header{{"content-type", "application/problem+json"}},
		grpc: []header{{"grpc-status", strconv.Itoa(int(grpcStatus(p.Status)))}, {"grpc-message", string(appendHeaderText(nil, p.Detail))}}}
	for _, name := range slices.Sorted(maps.Keys(headers)) {
		out.headers = append(out.headers, header{name, headers[name]})
	}
	p.Type = e.config.ProblemTypeBase
	if p.Type != blankType {
		p.Type += p.Code
	}
	document, err := json.Marshal(p)
	if err != nil { // can't happen: plain strings and a number
		document = nil
	}
	out.document = string(document)
	return out
}

// encodeDenied makes the answer of a denial, as the client sees it.
func (e *encoder) encodeDenied(a *answer, d *authz.Decision, r *authz.Request) {
	reason := d.Reason
	if int(reason) >= len(e.refusals) {
		reason = authz.ReasonUnspecified
	}
	if reason == authz.ReasonPath && d.PathFault != authz.PathPlain {
		e.refuse(a, e.paths[d.PathFault], r)
	} else {
		e.refuse(a, e.refusals[reason], r)
	}
	if reason == authz.ReasonThrottled {
		a.orElse("retry-after", strconv.Itoa(max(1, seconds(d.RetryAfter))))
		rateHeaders(&d.Limit, a)
	}
	if e.config.DebugHeaders && d.Layer != authz.LayerNone {
		a.orElse("x-cache-status", cacheStatus(d))
	}
}

// orElse sets a header, unless an override has set it.
func (a *answer) orElse(name, value string) {
	if !named(a.headers, name) {
		a.set(name, value)
	}
}

func (e *encoder) refuse(a *answer, f *refusal, r *authz.Request) {
	a.code, a.status = f.code, f.status
	a.headers = append(a.headers, f.headers...)
	if call := lineOf(r, "content-type"); isGRPC(call) {
		a.headers, a.grpc = append(a.headers, f.grpc...), grpcFormOf(call)
		if a.body = f.detail; a.grpc == grpcWeb {
			kind := webType(call)
			a.headers, a.body = append(a.headers, header{"content-type", kind}, header{webTypeHeader, kind}), ""
		}
		return
	}
	a.headers, a.body = append(a.headers, f.http...), f.document
	if !e.config.RequestID {
		return
	}
	if id := lineOf(r, "x-request-id"); id != "" && f.document != "" {
		a.body = a.withInstance(f.document, a.headerText(id))
	}
}

// withInstance returns the document with the field instance added at its end.
func (a *answer) withInstance(document, instance string) string {
	start := len(a.text)
	a.text = append(append(a.text, document[:len(document)-1]...), `,"instance":"`...)
	for i := range len(instance) { // printable ASCII
		switch c := instance[i]; c {
		case '"', '\\':
			a.text = append(a.text, '\\', c)
		default:
			a.text = append(a.text, c)
		}
	}
	a.text = append(a.text, `"}`...)
	return a.since(start)
}

// encodeUndecided makes the answer if no decision could be made.
func (e *encoder) encodeUndecided(a *answer, r *authz.Request) {
	a.reset()
	e.refuse(a, e.noDecision, r)
	a.code, a.error = codes.Unavailable, e.config.OnError == OnErrorResponse
}

// problem is the document for a reason, with the operator's overrides.
func (e *encoder) problem(reason authz.Reason, detail string) problem {
	p := problem{Title: reason.Title(), Status: reason.Status(), Detail: detail, Code: reason.Code()}
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
