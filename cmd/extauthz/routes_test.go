package main

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
)

// TestRoutesList_NamesWhatIsBesideARule: the table and JSON list the requests close to a
// rule.
func TestRoutesList_NamesWhatIsBesideARule(t *testing.T) {
	const rules = "routes: [{match: \"DELETE pay.example.com/pay/{id}\", resource: pay, action: purge}, {match: \"GET /orders/{id}\", resource: \"orders/{id}\"}]\n"
	file := t.TempDir() + "/extauthz.yaml"
	list := func(settings string, args ...string) string {
		t.Helper()
		if err := os.WriteFile(file, []byte(settings), 0o600); err != nil {
			t.Fatal(err)
		}
		text, err := printed(t, append([]string{"--config", file, "routes"}, args...)...)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	text := list(rules+"default_route: map\n", "list")
	for _, want := range []string{"beside it: DELETE pay.example.com/pay/1/ ", "beside it: DELETE pay.example.com/v1/pay/1 ", "beside it: DELETE any-other-host.example/pay/1 ", " pay:delete ", " default_route: map"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in\n%s", want, text)
		}
	}
	var listed []struct {
		Match      string
		Neighbours []struct {
			Method, Host, Path, Requires string
			DecidedBy                    string `json:"decided_by"`
		}
	}
	if err := json.Unmarshal([]byte(list(rules+"default_route: map\n", "list", "-o", "json")), &listed); err != nil {
		t.Fatal(err)
	}
	if len(listed) != 2 || len(listed[1].Neighbours) != 0 || len(listed[0].Neighbours) < 10 {
		t.Fatalf("got %+v", listed)
	}
	if n := listed[0].Neighbours[0]; n.Method != "DELETE" || n.Host != "pay.example.com" || n.Path != "/pay/1/" || n.Requires != "pay:delete" || n.DecidedBy != "default_route: map" {
		t.Errorf("got %+v", n)
	}
	if text := list(rules, "list"); strings.Contains(text, "beside it") || !strings.Contains(text, "default_route: deny") {
		t.Errorf("beside deny:\n%s", text)
	}
	if text := list(rules, "match", "DELETE", "https://pay.example.com/pay/1/"); !strings.Contains(text, "denied: no rule matches") {
		t.Errorf("beside deny: %s", text)
	}
	if text := list(rules+"default_route: map\n", "match", "DELETE", "https://pay.example.com/pay/1/"); !strings.Contains(text, "pay:delete") {
		t.Errorf("beside map: %s", text)
	}
}

// TestRoutesList_LimitAndSort: both flags apply to rules, and the requests close to a
// rule stay with it.
func TestRoutesList_LimitAndSort(t *testing.T) {
	file := t.TempDir() + "/extauthz.yaml"
	settings := "routes: [{match: \"GET /b\", resource: x}, {match: \"GET /a\", resource: z}, {match: \"GET /c\", resource: y}]\ndefault_route: map\n"
	if err := os.WriteFile(file, []byte(settings), 0o600); err != nil {
		t.Fatal(err)
	}
	list := func(args ...string) (string, error) {
		return printed(t, append([]string{"--config", file, "routes", "list"}, args...)...)
	}
	for args, want := range map[string]string{
		"":                          "GET /b|GET /a|GET /c",
		"--limit 2":                 "GET /b|GET /a",
		"--sort match":              "GET /a|GET /b|GET /c",
		"--sort -match":             "GET /c|GET /b|GET /a",
		"--sort requires --limit 2": "GET /b|GET /c",
	} {
		text, err := list(append(strings.Fields(args), "-o", "name")...)
		if got := strings.ReplaceAll(strings.TrimSpace(text), "\n", "|"); err != nil || got != want {
			t.Errorf("%q: got %q (%v), want %q", args, got, err, want)
		}
	}
	text, err := list("--sort", "-match", "--limit", "1")
	if err != nil || strings.Count(text, "beside it: ") < 2 || !strings.Contains(text, "beside it: GET /c/") || strings.Contains(text, "GET /a ") {
		t.Errorf("the table of one rule (%v):\n%s", err, text)
	}
	for _, args := range [][]string{{"--limit", "0"}, {"--sort", "nothing"}} {
		if _, err := list(args...); err == nil {
			t.Errorf("%v was accepted", args)
		}
	}
}
