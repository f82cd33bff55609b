package adminapi

import (
	"context"
	"encoding/base64"
	"errors"
	"net/http"
	"net/netip"
	"net/url"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"extauthz/authz"
	"extauthz/authz/keyring"
)

type explainInput struct{ Body ExplainRequest }

type explainOutput struct{ Body Explanation }

type routesAnswer struct{ Body Page[Route] }

func (a *api) registerExplain(h huma.API) {
	register(a, h, http.MethodPost, "/v1/explain", operation{tagDecisions, keyring.CreateExplain, "explain-request", "Decide about a request and explain each step; it counts as no use of the key", 0, nil},
		func(ctx context.Context, p keyring.Principal, in *explainInput) (*explainOutput, error) {
			if err := p.Require(keyring.CreateExplain); err != nil {
				return nil, err
			}
			return a.explain(ctx, in.Body)
		})
	register(a, h, http.MethodGet, "/v1/routes", operation{tagDecisions, keyring.ReadRoutes, "list-routes", "List the loaded rules", 0, nil},
		func(_ context.Context, p keyring.Principal, _ *struct{}) (*routesAnswer, error) {
			if err := p.Require(keyring.ReadRoutes); err != nil {
				return nil, err
			}
			out := &routesAnswer{Body: Page[Route]{Items: []Route{}}}
			if t := a.authorizer().Routes; t != nil {
				for _, r := range t.Rules() {
					out.Body.Items = append(out.Body.Items, RouteOf(r))
				}
			}
			return out, nil
		})
}

func (a *api) explain(ctx context.Context, q ExplainRequest) (*explainOutput, error) {
	authorizer := a.authorizer()
	r, err := RequestOf(q, authorizer.Sources)
	if err != nil {
		var field *huma.ErrorDetail
		if errors.As(err, &field) {
			return nil, invalid(field.Location, field.Message)
		}
		return nil, newProblem(CodeInvalidRequest, err.Error())
	}
	d, steps, err := authorizer.Explain(ctx, r)
	if err != nil {
		return nil, err
	}
	out := &explainOutput{Explanation{Allowed: d.Allowed, Reason: d.Reason.String(), Code: d.Reason.Code(), Status: d.Reason.Status(),
		Detail: d.Detail(), Resource: d.Resource, Action: d.Action, Steps: steps}}
	if d.Rule != nil {
		out.Body.Route = d.Rule.Pattern
	}
	return out, nil
}

// RequestOf makes the described request as a gateway would send it, with the key in the
// first of the sources.
func RequestOf(q ExplainRequest, sources []authz.CredentialSource) (*authz.Request, error) {
	r := &authz.Request{Method: q.Method, Scheme: "https", Path: q.URL}
	if scheme, rest, ok := strings.Cut(q.URL, "://"); ok {
		i := strings.IndexAny(rest, "/?")
		if i < 0 {
			i = len(rest)
		}
		r.Scheme, r.Host, r.Path = scheme, rest[:i], rest[i:]
		if !strings.HasPrefix(r.Path, "/") {
			r.Path = "/" + r.Path
		}
	}
	for _, h := range q.Headers {
		name, value, ok := strings.Cut(h, ":")
		if !ok {
			return nil, &huma.ErrorDetail{Location: "body.headers", Message: "a header is not of the form \"name: value\""}
		}
		name = strings.ToLower(strings.TrimSpace(name))
		if name == "host" {
			r.Host = strings.TrimSpace(value)
		}
		r.Headers = append(r.Headers, authz.Header{Name: name, Value: strings.TrimSpace(value)})
	}
	if q.From != "" {
		peer, err := netip.ParseAddr(q.From)
		if err != nil {
			return nil, &huma.ErrorDetail{Location: "body.from", Message: "from is no IP address"}
		}
		r.Peer = peer
	}
	if q.Key == "" || len(sources) == 0 {
		return r, nil
	}
	switch s := sources[0]; s.Kind {
	case authz.SourceHeader:
		value := q.Key
		if strings.EqualFold(s.Scheme, "Basic") {
			value = base64.StdEncoding.EncodeToString([]byte(value + ":"))
		}
		if s.Scheme != "" {
			value = s.Scheme + " " + value
		}
		r.Headers = append(r.Headers, authz.Header{Name: s.Name, Value: value})
	case authz.SourceCookie:
		r.Headers = append(r.Headers, authz.Header{Name: "cookie", Value: s.Name + "=" + q.Key})
	case authz.SourceQuery:
		separator := "?"
		if strings.Contains(r.Path, "?") {
			separator = "&"
		}
		r.Path += separator + url.QueryEscape(s.Name) + "=" + q.Key
	}
	return r, nil
}
