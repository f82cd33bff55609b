package envoy

import (
	"bytes"
	"flag"
	"fmt"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"extauthz/authz"
)

var update = flag.Bool("update", false, "write the names that clients may not send on into the examples anew")

// part returns what is between two lines of a text.
func part(text, from, to string) string {
	_, text, _ = strings.Cut(text, from)
	text, _, _ = strings.Cut(text, to)
	return text
}

// removals are what the examples have to say of the names that clients may not send
// on: a part of the file, found by an expression, and the text that it has to be. All
// are made from one list and one notion of a name, overrideHeaders and FoldName.
func removals(t *testing.T) map[string][]struct{ find, text string } {
	t.Helper()
	var printed bytes.Buffer
	if err := WriteBootstrap(&printed, Bootstrap{Listen: "127.0.0.1:1", Upstream: "127.0.0.1:2", Service: "127.0.0.1:3"}); err != nil {
		t.Fatal(err)
	}
	filter := part(printed.String(), "http_filters:\n", "                  - name: envoy.filters.http.ext_authz\n")
	mutations := `(?s)                  # What a client sends under our names.*?\n(                  - name: envoy.filters.http.ext_authz\n)`
	lines := func(form string, but ...string) string {
		var b strings.Builder
		for _, name := range slices.Concat(overrideHeaders...) {
			if !slices.Contains(but, name) {
				fmt.Fprintf(&b, form, http.CanonicalHeaderKey(name))
			}
		}
		return b.String()
	}
	var odd strings.Builder
	for c := '!'; c <= '~'; c++ {
		if name := string(c); validName(name) && FoldName(name) == "-" && c != '-' {
			fmt.Fprintf(&odd, "\t\trequest_header -*%s*\n", name)
		}
	}
	return map[string][]struct{ find, text string }{
		"envoy-http.yaml":     {{mutations, filter}},
		"ratelimit.yaml":      {{mutations, filter}},
		"../../docs/envoy.md": {{"(?s)- name: envoy.filters.http.header_mutation\n.*?(```)", regexp.MustCompile(`(?m)^ {18}(?: *#.*\n)?`).ReplaceAllString(regexp.MustCompile(`(?m)^ *#.*\n`).ReplaceAllString(filter, ""), "")}},
		"nginx.conf": {
			{`(?s)# Override headers, asked about.\n.*?( {12}proxy_pass_request_body)`, "# Override headers, asked about.\n" + lines("            proxy_set_header %s \"\";\n", nginxDialect.own...)},
			{`(?s)# Override headers, served.\n.*?( {12}# The key goes)`, "# Override headers, served.\n" + lines("            proxy_set_header %s \"\";\n")},
		},
		"Caddyfile": {
			{`(?s)# Odd names\.\n.*?(\t\t# By these)`, "# Odd names.\n" + odd.String()},
			{`(?s)# Override headers\.\n.*?(\t\t# A client that)`, "# Override headers.\n" + lines("\t\trequest_header -%s\n")},
		},
		"traefik-dynamic.yaml": {
			{`(?m)^          # Override headers.\n(?:^          [\w-]+: ""\n)*()`, "          # Override headers.\n" + lines("          %s: \"\"\n", traefikDialect.own...)},
			{`(?m)^        authResponseHeadersRegex: .*\n()`, `        authResponseHeadersRegex: "(?i)` + prefixExpression(FoldName("x-auth-")) + "\"\n"},
		},
	}
}

// TestExamples_RemoveWhatTheServiceRemoves: each configuration says the same of the
// names that clients may not send on, made from the service's own list.
func TestExamples_RemoveWhatTheServiceRemoves(t *testing.T) {
	for name, parts := range removals(t) {
		path := "examples/" + name
		before, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		after := string(before)
		for _, p := range parts {
			find := regexp.MustCompile(p.find)
			if n := len(find.FindAllString(after, -1)); n != 1 {
				t.Fatalf("%s: %d places for %.60q", name, n, p.text)
			}
			after = find.ReplaceAllStringFunc(after, func(old string) string {
				return p.text + find.FindStringSubmatch(old)[1]
			})
		}
		if after == string(before) {
			continue
		}
		if !*update {
			t.Errorf("%s does not remove what the service removes: go test ./envoy -run Examples -update", path)
		} else if err := os.WriteFile(path, []byte(after), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// TestChart_HasTheOverrideHeaders: templates can't ask the service.
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

// TestService_RemovesEverySpelling over gRPC, on every allowed request, and denies
// one with a name that Envoy can't be told to remove.
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
