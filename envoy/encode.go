package envoy

import (
	"errors"
	"fmt"
	"sort"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"extauthz/authz"
)

// EncoderConfig says how decisions are told.
type EncoderConfig struct {
	HeaderPrefix      string              // of identity headers, lower case; "" is "x-auth-"
	MetadataHeaders   []string            // names of a key's metadata that the upstream sees
	ForwardCredential bool                // leave the key in the request
	Realm             string              // of WWW-Authenticate; "" is "api"
	ProblemTypeBase   string              // "" is "about:blank"
	RequestID         bool                // problem documents carry the request's id
	DebugHeaders      bool                // x-cache-status to the client
	Overrides         map[string]Override // by public code
	OnError           OnError             // "" is OnErrorUnavailable
	SampleAllowed     float64             // share of allowed checks that is logged, 0 to 1; denials are, within a limit
	RateMetadata      bool                // a key's rate goes out as dynamic metadata, for Envoy's rate limits
}

// OnError says what Envoy gets where nobody could decide.
type OnError string

// The modes.
const (
	OnErrorUnavailable OnError = "unavailable"    // a gRPC error: failure_mode_allow decides
	OnErrorDeny        OnError = "deny"           // a 503 denial, whatever failure_mode_allow says
	OnErrorResponse    OnError = "error_response" // Envoy 1.37 and later: a 503 of ours, and failure_mode_allow decides
)

type encoder struct {
	prefix   string
	metadata []string
	names    []string // complete set of identity header names
	config   EncoderConfig
}

func newEncoder(c EncoderConfig) (*encoder, error) {
	if c.HeaderPrefix == "" {
		c.HeaderPrefix = "x-auth-"
	}
	if c.Realm == "" {
		c.Realm = "api"
	}
	if c.ProblemTypeBase == "" {
		c.ProblemTypeBase = blankType
	}
	var problems []error
	if !validName(c.HeaderPrefix) || strings.Contains(c.HeaderPrefix, "_") || !strings.HasSuffix(c.HeaderPrefix, "-") {
		problems = append(problems, fmt.Errorf("identity header prefix %q: write a lower-case name that ends in \"-\", such as x-auth-", c.HeaderPrefix))
	}
	if strings.ContainsAny(c.Realm, "\"\\") || headerText(c.Realm) != c.Realm {
		problems = append(problems, fmt.Errorf("realm %q: write plain ASCII without quotes", c.Realm))
	}
	e := &encoder{prefix: c.HeaderPrefix, config: c}
	for _, n := range identityNames {
		e.names = append(e.names, c.HeaderPrefix+n)
	}
	for _, n := range c.MetadataHeaders {
		if !validName(n) {
			problems = append(problems, fmt.Errorf("metadata header %q: write a lower-case header name", n))
			continue
		}
		e.metadata = append(e.metadata, n)
		e.names = append(e.names, c.HeaderPrefix+"meta-"+n)
	}
	switch e.config.OnError {
	case "":
		e.config.OnError = OnErrorUnavailable
	case OnErrorUnavailable, OnErrorDeny, OnErrorResponse:
	default:
		problems = append(problems, fmt.Errorf("on_error %q: write unavailable, deny or error_response", c.OnError))
	}
	for code, o := range c.Overrides {
		problems = append(problems, o.validate(code)...)
	}
	return e, errors.Join(problems...)
}

// option sets both forms of "replace": builds of Envoy differ in which one they
// read.
func option(name, value string) *corev3.HeaderValueOption {
	return &corev3.HeaderValueOption{
		Header:       &corev3.HeaderValue{Key: name, Value: value},
		Append:       wrapperspb.Bool(false), //nolint:staticcheck // deprecated, but the form that Envoy reads here
		AppendAction: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD,
	}
}

// encode turns a decision about r into Envoy's answer.
func (e *encoder) encode(d *authz.Decision, r *authz.Request) *authv3.CheckResponse {
	res := &authv3.CheckResponse{DynamicMetadata: e.dynamicMetadata(d)}
	if !d.Allowed {
		denied := e.denied(d, r)
		res.Status = &rpcstatus.Status{Code: int32(denialCode(int(denied.GetStatus().GetCode())))}
		res.HttpResponse = &authv3.CheckResponse_DeniedResponse{DeniedResponse: denied}
		return res
	}
	set := map[string]string{}
	for name, value := range e.identity(d) {
		if value != "" { // an empty header would be none to some upstreams: it is removed instead
			set[e.prefix+name] = value
		}
	}
	remove := e.removals(r, set)
	target := r.Path
	if d.Target != "" {
		target = d.Target
	}
	if !e.config.ForwardCredential {
		var hidden []string
		hidden, target = e.hideCredentials(d, r, target, set)
		remove = append(remove, hidden...)
	}
	if target != r.Path {
		if !plainValue(target) { // no authorizer of ours allows it; Envoy would answer with a 500
			return e.encode(&authz.Decision{Reason: authz.ReasonPath}, r)
		}
		set[":path"] = target
	}
	ok := &authv3.OkHttpResponse{HeadersToRemove: remove}
	for _, name := range sortedKeys(set) {
		ok.Headers = append(ok.Headers, option(name, set[name]))
	}
	if e.config.DebugHeaders && d.Layer != authz.LayerNone {
		ok.ResponseHeadersToAdd = append(ok.ResponseHeadersToAdd, option("x-cache-status", cacheStatus(d)))
	}
	res.Status = &rpcstatus.Status{Code: int32(codes.OK)}
	res.HttpResponse = &authv3.CheckResponse_OkResponse{OkResponse: ok}
	return res
}

// hideCredentials returns headers to remove and the target without keys, and
// puts the rewritten cookie into set. A name never stands in both: Envoy removes
// last.
func (e *encoder) hideCredentials(d *authz.Decision, r *authz.Request, target string, set map[string]string) (remove []string, without string) {
	cookie, cookies := r.Headers, false
	line := ""
	for _, f := range d.Credentials {
		switch f.Source.Kind {
		case authz.SourceHeader:
			remove = append(remove, f.Source.Name)
		case authz.SourceQuery:
			target = withoutParameter(target, f.Source.Name)
		case authz.SourceCookie:
			line = withoutCookie(cookie, f.Source.Name)
			cookie, cookies = []authz.Header{{Name: "cookie", Value: line}}, true
		}
	}
	switch {
	case cookies && line != "" && plainValue(line):
		set["cookie"] = line
	case cookies:
		remove = append(remove, "cookie")
	}
	return remove, target
}

// plainValue tells whether a value that came from the client can go back into a
// response as it is.
func plainValue(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' && s[i] != '\t' || s[i] >= 0x7f {
			return false
		}
	}
	return true
}

func cacheStatus(d *authz.Decision) string {
	if d.Layer.Hit() {
		return "HIT"
	}
	return "MISS"
}

// dynamicMetadata holds the same facts for access logs and rate limits, on
// denials too.
func (e *encoder) dynamicMetadata(d *authz.Decision) *structpb.Struct {
	f := map[string]*structpb.Value{
		"reason": structpb.NewStringValue(d.Reason.String()),
	}
	if d.Shadow != authz.ReasonUnspecified {
		f["shadow"] = structpb.NewStringValue(d.Shadow.String())
	}
	if d.Layer != authz.LayerNone { // a key was looked up
		f["cache"] = structpb.NewStringValue(cacheStatus(d))
		f["cache_layer"] = structpb.NewStringValue(d.Layer.String())
	}
	if r := d.Record; r != nil {
		f["key_id"] = structpb.NewStringValue(headerText(r.ID))
		f["key_prefix"] = structpb.NewStringValue(headerText(r.Prefix))
		f["user_id"] = structpb.NewStringValue(headerText(r.UserID))
		if e.config.RateMetadata && !r.Rate.IsZero() {
			f["rate_limit"] = rateMetadata(r.Rate)
		}
		f["scopes"] = structpb.NewStringValue(headerText(strings.Join(d.Scopes.Strings(), " ")))
	}
	return &structpb.Struct{Fields: f}
}

func sortedKeys(m map[string]string) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	sort.Strings(out)
	return out
}
