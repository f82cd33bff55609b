package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// shop is an API's description; %s stands for the security of the orders.
const shop = `{openapi: 3.1.0, info: {title: Shop, version: "1"}, servers: [{url: "https://api.example.com/v1"}],
components: {securitySchemes: {key: {type: apiKey, in: header, name: X-API-Key}, partner: {type: http, scheme: basic}}},
paths: {
  "/orders/{id}": {
    get: {security: %s},
    delete: {security: [{key: ["orders:delete", "audit:write"]}, {key: ["admin:all"]}]}},
  /me: {get: {security: [{key: []}]}},
  /status: {get: {security: []}},
  /partners: {get: {security: [{partner: []}]}},
  /forgotten: {get: {}}}}
`

// TestOpenAPI_DescriptionIsThePolicy: and a change of it takes effect.
func TestOpenAPI_DescriptionIsThePolicy(t *testing.T) {
	onEach(t, func(t *testing.T, version string) {
		path := filepath.Join(t.TempDir(), "shop.yaml")
		describe := func(orders string) {
			t.Helper()
			if err := os.WriteFile(path, fmt.Appendf(nil, shop, orders), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		describe(`[{key: ["orders:read"]}]`)
		s := newStack(t, version, fmt.Sprintf(`
default_route: deny
openapi: {files: [%q], allow_anonymous: true}
routes: [{match: "DELETE api.example.com/v1/orders/{id}", resource: platform, action: delete}]
`, path))
		reader := "x-api-key: " + s.NewKey("--scope", "orders:read").Key

		s.allowed(s.ask("GET", "/v1/orders/7", reader))
		s.allowed(s.ask("HEAD", "/v1/orders/7", reader))
		s.allowed(s.ask("GET", "/v1/me", reader))
		s.allowed(s.ask("GET", "/v1/status"))
		s.denied(s.ask("GET", "/v1/me"), 401, "missing_key")
		s.denied(s.ask("GET", "/v1/orders/7", "x-api-key: "+s.NewKey("--scope", "orders:list").Key), 403, "scope_missing")
		for _, path := range []string{"/v1/partners", "/v1/forgotten", "/v1/orders", "/v1/status/more", "/status"} {
			s.denied(s.ask("GET", path, reader), 403, "route_denied")
		}

		// The configuration's own rule replaces the document's.
		s.denied(s.ask("DELETE", "/v1/orders/7", "x-api-key: "+s.NewKey("--scope", "admin:all").Key), 403, "scope_missing")
		s.allowed(s.ask("DELETE", "/v1/orders/7", "x-api-key: "+s.NewKey("--scope", "platform:delete").Key))

		describe(`[{key: ["orders:read", "stock:read"]}, {key: ["admin:all"]}]`)
		eventually(t, func() error {
			if a := s.ask("GET", "/v1/orders/7", reader); a.status != 403 {
				return fmt.Errorf("the old description holds: %d", a.status)
			}
			return nil
		})
		s.allowed(s.ask("GET", "/v1/orders/7", "x-api-key: "+s.NewKey("--scope", "orders:read", "--scope", "stock:read").Key))
		s.allowed(s.ask("GET", "/v1/orders/7", "x-api-key: "+s.NewKey("--scope", "admin:all").Key))

		describe(`[{key: [read]}]`)
		eventually(t, func() error {
			return errors.Join(contains(s.Log(), "configuration was not reloaded", nil), contains(s.Log(), "write resource:action", nil))
		})
		s.denied(s.ask("GET", "/v1/orders/7", reader), 403, "scope_missing")
	})
}

// TestOpenAPI_ListsNameTheDocumentOfARule: wherever the program prints the policy.
func TestOpenAPI_ListsNameTheDocumentOfARule(t *testing.T) {
	path := filepath.Join(t.TempDir(), "shop.yaml")
	if err := os.WriteFile(path, fmt.Appendf(nil, shop, `[{key: ["orders:read"]}]`), 0o600); err != nil {
		t.Fatal(err)
	}
	s := service(t, fmt.Sprintf("{openapi: {files: [%q], allow_anonymous: true}, default_route: deny}", path))
	out := s.Must("routes", "list", "--config", s.Configuration)
	for _, want := range []string{"GET api.example.com/v1/orders/{id}", "audit:write and orders:delete, or admin:all", "any valid key", "no key", "what no key has", path} {
		if !strings.Contains(out, want) {
			t.Errorf("routes list lacks %q: %s", want, out)
		}
	}
	_, warned, err := s.CLI("config", "check", "--config", s.Configuration)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"nothing is said of their security: GET /forgotten", "no API key can meet what they ask for: GET /partners", "anonymous (security: []): GET /status"} {
		if !strings.Contains(warned, want) {
			t.Errorf("config check lacks %q: %s", want, warned)
		}
	}
}
