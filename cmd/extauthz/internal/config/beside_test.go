package config

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

const payments = `routes:
  - {match: "DELETE /pay/{id}", resource: pay, action: purge}
  - {match: "POST /v1/payments", resource: payments, action: approve}
  - {match: "GET /orders/{id}", resource: "orders/{id}"}
`

func TestWarnings_NameWhatIsBesideARule(t *testing.T) {
	w := load(t, payments+"default_route: map").Warnings(testNow)
	if len(w) != 2 {
		t.Fatalf("got %q", w)
	}
	for i, wants := range [][]string{
		{":2: routes[0]: beside DELETE /pay/{id}, which requires pay:purge, less is required: DELETE /pay/1/, ", "DELETE /v1/pay/1, DELETE /api/v1/pay/1 (pay:delete by default_route: map); GET /pay/1",
			": write default_route: deny, or a rule for each that the upstream serves"},
		{":3: routes[1]: beside POST /v1/payments, which requires payments:approve, less is required: POST /v1/payments/, ", "POST /payments, "},
	} {
		for _, want := range wants {
			if !strings.Contains(w[i], want) || strings.Contains(w[i], "\n") {
				t.Errorf("got %s\nwant %s", w[i], want)
			}
		}
	}
	for _, quiet := range []string{payments, payments + "default_route: deny"} {
		if w := load(t, quiet).Warnings(testNow); len(w) != 0 {
			t.Errorf("beside deny: %q", w)
		}
	}
	w = load(t, payments+"default_route: authenticated").Warnings(testNow)
	if len(w) != 3 || !strings.Contains(w[2], "OPTIONS /orders/1 (any valid key by default_route: authenticated): write") {
		t.Errorf("beside authenticated: %q", w)
	}
	w = load(t, payments+"  - {match: /pay/, anonymous: true}\n").Warnings(testNow)
	if !slices.ContainsFunc(w, func(line string) bool {
		return strings.Contains(line, `beside DELETE /pay/{id}, which requires pay:purge, less is required: DELETE /pay/1/, DELETE /pay/1/1, GET /pay/1, `) &&
			strings.HasSuffix(line, `(no key by rule "/pay/"): write a rule for each that the upstream serves`)
	}) {
		t.Errorf("beside an anonymous rule: %q", w)
	}
	w = load(t, `openapi: {files: [`+document(t)+`]}`+"\ndefault_route: map").Warnings(testNow)
	if len(w) != 1 || !strings.Contains(w[0], "openapi.files[0]: beside DELETE /pay, which requires pay:purge, less is required: DELETE /pay/, ") {
		t.Errorf("of a document: %q", w)
	}
}

// TestWarnings_AboutNeighboursAreBounded: their number and the time to find them have
// limits.
func TestWarnings_AboutNeighboursAreBounded(t *testing.T) {
	var text strings.Builder
	text.WriteString("default_route: map\nroutes:\n")
	for i := range 10_000 {
		fmt.Fprintf(&text, "  - {match: \"DELETE /v1/service-%d/{id}\", resource: pay, action: purge}\n", i)
	}
	c := load(t, text.String())
	start := time.Now()
	w := c.Warnings(testNow)
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("took %v", took)
	}
	if len(w) != maxBesideWarnings+1 || !strings.Contains(w[maxBesideWarnings], ": routes: 9980 more rules have requests beside them for which less is required: extauthz routes list names all") {
		t.Errorf("%d warnings, the last: %s", len(w), w[len(w)-1])
	}
}

func TestChanges_SayWhatAnUpgradeChanges(t *testing.T) {
	const denies = "default_route is not set beside rules and is now deny"
	const versions = "the default mapping strips /api and API versions"
	for text, want := range map[string]string{
		payments:                                 denies,
		`openapi: {files: [DOCUMENT]}`:           denies,
		`route_metadata: {enabled: true}`:        versions,
		"":                                       versions,
		payments + "default_route: map":          versions,
		payments + "default_route: deny":         "",
		"default_route: authenticated":           "",
		`default_map: {strip_prefixes: [/shop]}`: "",
	} {
		got := load(t, strings.ReplaceAll(text, "DOCUMENT", document(t))).Changes()
		if want == "" && len(got) != 0 || want != "" && (len(got) != 1 || !strings.Contains(got[0], want) || strings.Contains(got[0], "\n")) {
			t.Errorf("%s\n got %q\nwant %q", text, got, want)
		}
	}
}
