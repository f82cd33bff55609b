package gatewayconfig

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

	"extauthz/envoy"
)

var update = flag.Bool("update", false, "rewrite the parts of the examples that remove headers")

// examples is the folder of configurations for operators to start from, beside the
// adapter.
const examples = "../../../../envoy/examples/"

// Override headers that a proxy sets itself to describe the request. Its example
// therefore does not empty them (envoy/forwardauth.go).
var (
	nginxOwn   = []string{"x-original-method", "x-original-uri"}
	traefikOwn = []string{"x-forwarded-method", "x-forwarded-uri", "x-forwarded-host", "x-forwarded-server"}
)

// part returns the text between two given lines.
func part(text, from, to string) string {
	_, text, _ = strings.Cut(text, from)
	text, _, _ = strings.Cut(text, to)
	return text
}

// removals returns, for each example, the parts about names that clients may not send on:
// an expression that finds the part, and the text that it must have. All these texts are
// made from one list and one definition of equal names, OverrideHeaderGroups and
// FoldName.
func removals(t *testing.T) map[string][]struct{ find, text string } {
	t.Helper()
	var printed bytes.Buffer
	if err := WriteBootstrap(&printed, Bootstrap{Listen: "127.0.0.1:1", Upstream: "127.0.0.1:2", Service: "127.0.0.1:3"}); err != nil {
		t.Fatal(err)
	}
	expressions, err := envoy.RemovedExpressions("x-auth-", nil)
	if err != nil {
		t.Fatal(err)
	}
	filter := part(printed.String(), "http_filters:\n", "                  - name: envoy.filters.http.ext_authz\n")
	mutations := `(?s)                  # What a client sends under our names.*?\n(                  - name: envoy.filters.http.ext_authz\n)`
	lines := func(form string, but ...string) string {
		var b strings.Builder
		for _, name := range slices.Concat(envoy.OverrideHeaderGroups()...) {
			if !slices.Contains(but, name) {
				fmt.Fprintf(&b, form, http.CanonicalHeaderKey(name))
			}
		}
		return b.String()
	}
	var odd strings.Builder
	for c := '!'; c <= '~'; c++ {
		if name := string(c); envoy.ValidHeaderName(name) && envoy.FoldName(name) == "-" && c != '-' {
			fmt.Fprintf(&odd, "\t\trequest_header -*%s*\n", name)
		}
	}
	return map[string][]struct{ find, text string }{
		"envoy-http.yaml":     {{mutations, filter}},
		"ratelimit.yaml":      {{mutations, filter}},
		"../../docs/envoy.md": {{"(?s)- name: envoy.filters.http.header_mutation\n.*?(```)", regexp.MustCompile(`(?m)^ {18}(?: *#.*\n)?`).ReplaceAllString(regexp.MustCompile(`(?m)^ *#.*\n`).ReplaceAllString(filter, ""), "")}},
		"nginx.conf": {
			{`(?s)# Override headers, asked about.\n.*?( {12}proxy_pass_request_body)`, "# Override headers, asked about.\n" + lines("            proxy_set_header %s \"\";\n", nginxOwn...)},
			{`(?s)# Override headers, served.\n.*?( {12}# The key goes)`, "# Override headers, served.\n" + lines("            proxy_set_header %s \"\";\n")},
		},
		"Caddyfile": {
			{`(?s)# Other separators\.\n.*?(\t\t# By these)`, "# Other separators.\n" + odd.String()},
			{`(?s)# Override headers\.\n.*?(\t\t# A client that)`, "# Override headers.\n" + lines("\t\trequest_header -%s\n")},
		},
		"traefik-dynamic.yaml": {
			{`(?m)^          # Override headers.\n(?:^          [\w-]+: ""\n)*()`, "          # Override headers.\n" + lines("          %s: \"\"\n", traefikOwn...)},
			{`(?m)^        authResponseHeadersRegex: .*\n()`, `        authResponseHeadersRegex: "(?i)` + expressions[0] + "\"\n"},
		},
	}
}

// TestExamples_RemoveWhatTheServiceRemoves: all examples remove the names that clients
// may not send on, made from the service's own list.
func TestExamples_RemoveWhatTheServiceRemoves(t *testing.T) {
	for name, parts := range removals(t) {
		path := examples + name
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
			t.Errorf("%s does not remove what the service removes: go test ./cmd/extauthz/internal/gatewayconfig -run Examples -update", path)
		} else if err := os.WriteFile(path, []byte(after), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
