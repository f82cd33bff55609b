package envoy

import (
	"flag"
	"os"
	"slices"
	"strings"
	"testing"

	"extauthz/authz"
)

var update = flag.Bool("update", false, "rewrite the chart's list of override headers")

// TestChart_HasTheOverrideHeaders: the chart has a copy of the list, since templates
// can't call the service.
func TestChart_HasTheOverrideHeaders(t *testing.T) {
	const path = "../helm/extauthz/files/override-headers.yaml"
	want := "# The headers by which upstreams let a client replace what was judged, in groups of\n# one expression each. The list is the service's own: go test ./envoy -run Chart -update\n"
	for _, group := range overrideHeaders {
		want += "- [" + strings.Join(group, ", ") + "]\n"
	}
	if *update {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := os.ReadFile(path); err != nil || string(got) != want {
		t.Errorf("%s is not the service's list: go test ./envoy -run Chart -update (%v)", path, err)
	}
}

// TestService_RemovesEverySpelling: over gRPC, every allowed request loses these headers.
// A request with a name that Envoy can't remove is denied.
func TestService_RemovesEverySpelling(t *testing.T) {
	anonymous := saying(func(*authz.Request) (authz.Decision, error) {
		return authz.Decision{Allowed: true, Reason: authz.ReasonAnonymous}, nil
	})
	spelled := []string{"x.auth.user.id", "x_auth-scopes", "x!auth~admin", "x-http-method-override", "x_http_method_override", "x.original|url", "script_name", "path'info",
		"x-forwarded-host", "forwarded", "grpc-metadata-x-auth-user-id", "Grpc_Metadata.X-Auth-Scopes", "x-http-host-override", "X-Host", "x-envoy-auth-failure-mode-allowed"}
	headers := map[string]string{"x-forwarded-for": "192.0.2.1", "x-forwarded-proto": "https", "x-http-methods": "x", "X-Forwarded_Prefix": "/shop", "x-other": "y"}
	for _, name := range spelled {
		headers[name] = "root"
	}
	for name, says := range map[string]saying{"anonymous": anonymous, "keyed": allow(authz.Record{ID: "i", UserID: "u"})} {
		s := service(t, EncoderConfig{KeepOverrides: []string{"x-forwarded-prefix"}}, says)
		removed := checked(t, s, request("/orders", headers)).GetOkResponse().GetHeadersToRemove()
		for header := range headers {
			if want := slices.Contains(spelled, header); slices.Contains(removed, strings.ToLower(header)) != want {
				t.Errorf("%s, %s: removed %v", name, header, !want)
			}
		}
		for _, odd := range []string{"x\u00a0auth\u00a0user", "x auth user", "x/original/url", "\u017fcript-name", "X-AUTH-\u212aey"} {
			res := checked(t, s, request("/orders", map[string]string{odd: "root"}))
			if res.GetOkResponse() != nil || res.GetDeniedResponse().GetStatus().GetCode() != 403 || !strings.Contains(res.GetDeniedResponse().GetBody(), "forwarding_refused") {
				t.Errorf("%s, %q: %v", name, odd, res)
			}
		}
		if res := checked(t, s, request("/orders", map[string]string{"r\u00e9f\u00e9rence": "stays"})); res.GetOkResponse() == nil {
			t.Errorf("%s: %v", name, res)
		}
	}
}
