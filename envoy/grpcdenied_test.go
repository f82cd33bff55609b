package envoy

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"extauthz/authz"
)

// TestDenied_GRPCStatusIsInHeaders: over gRPC the denial has status 200 and no body. Over
// HTTP it has a status that no caller treats as "allowed".
func TestDenied_GRPCStatusIsInHeaders(t *testing.T) {
	c := EncoderConfig{Overrides: map[string]Override{"scope_missing": {Status: 404, Detail: "Nicht da: 100 % \u00fcber"}}}
	for reason, want := range map[authz.Reason][2]string{
		authz.ReasonMissing:   {"16", authz.ReasonMissing.Detail()},
		authz.ReasonThrottled: {"8", authz.ReasonThrottled.Detail()},
		authz.ReasonPath:      {"13", authz.ReasonPath.Detail()},
		authz.ReasonScope:     {"12", "Nicht da: 100 %25 %C3%BCber"},
	} {
		s := service(t, c, func(*authz.Request) (authz.Decision, error) { return authz.Decision{Reason: reason}, nil })
		for sent, kind := range map[string]string{
			"application/grpc": "", "application/grpc+proto": "",
			"application/grpc-web":                            "application/grpc-web",
			"application/grpc-web+proto":                      "application/grpc-web+proto",
			"application/grpc-web+json":                       "application/grpc-web+json",
			"application/grpc-web-text":                       "application/grpc-web-text",
			"application/grpc-web-text+proto":                 "application/grpc-web-text+proto",
			"Application/gRPC-Web+Proto; charset=x":           "application/grpc-web+proto",
			"application/grpc-web+\r\nx: y":                   "application/grpc-web",
			"application/grpc-webby":                          "application/grpc-web",
			"application/grpc-web" + strings.Repeat("+x", 40): "application/grpc-web",
		} {
			res := checked(t, s, request("/a.B/C", map[string]string{"content-type": sent})).GetDeniedResponse()
			got := map[string]string{}
			for _, h := range res.GetHeaders() {
				got[h.GetHeader().GetKey()] = h.GetHeader().GetValue()
			}
			if res.GetStatus().GetCode() != 200 || res.GetBody() != "" || got["grpc-status"] != want[0] || got["grpc-message"] != want[1] ||
				got["content-type"] != kind || got[webTypeHeader] != kind || got["cache-control"] != "no-store" {
				t.Errorf("%v, %q: got %v", reason, sent, res)
			}
			nginx := http.Header{"X-Original-Method": {"POST"}, "X-Original-Uri": {"/a.B/C"}}
			forwarded := http.Header{"X-Forwarded-Method": {"POST"}, "X-Forwarded-Uri": {"/a.B/C"}, "X-Forwarded-Host": {"h"}}
			for endpoint, headers := range map[string]http.Header{"/check/a.B/C": {}, "/auth/nginx": nginx, "/auth/caddy": forwarded, "/auth/traefik": forwarded} {
				r := httptest.NewRequest(http.MethodPost, endpoint, nil)
				r.RemoteAddr = "127.0.0.1:1"
				r.Header = headers.Clone()
				r.Header.Set("Content-Type", strings.NewReplacer("\r", "", "\n", "").Replace(sent))
				w := httptest.NewRecorder()
				NewHTTPServer(HTTPConfig{}, s).Handler.ServeHTTP(w, r)
				if w.Code < 400 || w.Header().Get("grpc-status") != want[0] || w.Header().Get("grpc-message") != want[1] || w.Header().Get("content-type") != kind {
					t.Errorf("%v, %q at %s: got %d %v", reason, sent, endpoint, w.Code, w.Header())
				}
			}
		}
		res := checked(t, s, request("/a.B/C", map[string]string{"content-type": "application/grpc; charset=utf-8"})).GetDeniedResponse()
		if res.GetStatus().GetCode() < 400 || res.GetBody() == "" || res.GetBody()[0] == '{' {
			t.Errorf("%v: got %v", reason, res)
		}
	}
}

// TestChallenges_NameTheConfiguredSchemes: they name no other scheme.
func TestChallenges_NameTheConfiguredSchemes(t *testing.T) {
	header := func(name, scheme string) authz.CredentialSource {
		return authz.CredentialSource{Kind: authz.SourceHeader, Name: name, Scheme: scheme}
	}
	key := header("x-api-key", "")
	for _, c := range []struct {
		sources       []authz.CredentialSource
		missing, sent string
	}{
		{[]authz.CredentialSource{key, header("authorization", "Bearer")}, `Bearer realm="r"`, `Bearer realm="r", error="invalid_token"`},
		{[]authz.CredentialSource{header("authorization", "Basic"), key, header("Authorization", "bearer")}, `Basic realm="r", charset="UTF-8", bearer realm="r"`, `Basic realm="r", charset="UTF-8", bearer realm="r", error="invalid_token"`},
		{[]authz.CredentialSource{header("authorization", "Token"), header("x-other", "Basic")}, `Token realm="r"`, `Token realm="r"`},
		{[]authz.CredentialSource{key, {Kind: authz.SourceQuery, Name: "k"}, header("authorization", "")}, `ApiKey realm="r"`, `ApiKey realm="r"`},
	} {
		for reason, want := range map[authz.Reason]string{authz.ReasonMissing: c.missing, authz.ReasonMalformed: c.sent} {
			s := service(t, EncoderConfig{Realm: "r", Sources: c.sources}, func(*authz.Request) (authz.Decision, error) { return authz.Decision{Reason: reason}, nil })
			if got := values(checked(t, s, request("/o", nil)))["www-authenticate"]; got != want {
				t.Errorf("%v, %v: got %q, want %q", c.sources, reason, got, want)
			}
		}
	}
}
