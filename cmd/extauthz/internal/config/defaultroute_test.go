package config

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestDefaultRoute_ClosesBesideRules: an empty default_route becomes deny as soon as
// there is a rule. DefaultRoute holds the effective value, and `config print` shows it.
func TestDefaultRoute_ClosesBesideRules(t *testing.T) {
	const rule = `routes: [{match: "DELETE /pay/{id}", resource: pay, action: purge}]`
	for name, c := range map[string]struct {
		text, want  string
		environment []string
	}{
		"nothing":                     {text: "", want: "map"},
		"empty lists":                 {text: "routes: []\nopenapi: {files: []}\nroute_metadata: {routes: []}", want: "map"},
		"a mapping alone":             {text: `default_map: {strip_prefixes: [/shop]}`, want: "map"},
		"a rule":                      {text: rule, want: "deny"},
		"an anonymous rule":           {text: `routes: [{match: /healthz, anonymous: true}]`, want: "deny"},
		"a rule by the environment":   {environment: []string{`EXTAUTHZ_ROUTES=[{match: /a, resource: a}]`}, want: "deny"},
		"a document":                  {text: `openapi: {files: [` + document(t) + `]}`, want: "deny"},
		"a named route":               {text: `route_metadata: {routes: [{route: HTTPRoute/shop/orders, resource: orders}]}`, want: "deny"},
		"annotations":                 {text: `route_metadata: {enabled: true}`, want: "map"},
		"empty beside a rule":         {text: rule + "\ndefault_route: ''", want: "deny"},
		"empty variable":              {text: rule, environment: []string{"EXTAUTHZ_DEFAULT_ROUTE="}, want: "deny"},
		"map beside a rule":           {text: rule + "\ndefault_route: map", want: "map"},
		"authenticated beside a rule": {text: rule + "\ndefault_route: authenticated", want: "authenticated"},
		"map by the environment":      {text: rule, environment: []string{"EXTAUTHZ_DEFAULT_ROUTE=map"}, want: "map"},
		"deny without rules":          {text: "default_route: deny", want: "deny"},
	} {
		got := load(t, c.text, c.environment...)
		var printed bytes.Buffer
		if err := got.Print(&printed); err != nil {
			t.Fatal(err)
		}
		if got.DefaultRoute != c.want || !strings.Contains(printed.String(), "\ndefault_route: "+c.want+"\n") {
			t.Errorf("%s: %s; printed:\n%s", name, got.DefaultRoute, printed.String())
		}
	}
}

// TestDefaultRoute_ChangesWithTheFirstRule: a reload reports this change too.
func TestDefaultRoute_ChangesWithTheFirstRule(t *testing.T) {
	reload, restart := Diff(load(t, ""), load(t, `routes: [{match: /a, resource: a}]`))
	if strings.Join(reload, " ") != "default_route routes" || restart != nil {
		t.Errorf("reload %v, restart %v", reload, restart)
	}
}

// document writes an API description with one operation, and returns its path.
func document(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "shop.yaml")
	text := `{openapi: 3.1.0, info: {title: Shop, version: "1"}, components: {securitySchemes: {key: {type: apiKey, in: header, name: X-API-Key}}},
paths: {/pay: {delete: {security: [{key: ["pay:purge"]}]}}}}`
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
