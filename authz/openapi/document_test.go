package openapi

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"extauthz/authz"
)

var sources = []authz.CredentialSource{{Kind: authz.SourceHeader, Name: "x-api-key"}, {Kind: authz.SourceHeader, Name: "authorization", Scheme: "Bearer"}}

// document returns a description with the paths; more is added at its top level.
func document(paths, more string) []byte {
	return []byte(`openapi: 3.1.0
info: {title: Shop, version: "1"}
components:
  securitySchemes:
    key: {type: apiKey, in: header, name: X-API-Key}
    token: {type: oauth2, flows: {clientCredentials: {tokenUrl: https://a.example.com/t, scopes: {}}}}
    other: {type: apiKey, in: header, name: x-partner-key}
    query: {type: apiKey, in: query, name: x-api-key}
    basic: {type: http, scheme: basic}
    tls: {type: mutualTLS}
` + more + "\npaths:\n" + paths)
}

// said returns the rules of a document as text, one line each, and the notes.
func said(t *testing.T, document []byte, o Options) ([]string, []string) {
	t.Helper()
	o.Sources = sources
	rules, notes, err := Read(document, o)
	if err != nil {
		t.Fatal(err)
	}
	table, err := authz.NewRouteTable(rules)
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, r := range table.Rules() {
		lines = append(lines, r.Pattern+" -> "+r.Requires())
	}
	return lines, notes
}

func TestDocument_SecurityRequirementsBecomeNeeds(t *testing.T) {
	for security, want := range map[string]string{
		"[{key: ['orders:read']}]":                                     "orders:read",
		"[{token: ['orders:read']}]":                                   "orders:read",
		"[{key: ['orders:read', 'stock:read']}]":                       "orders:read and stock:read",
		"[{key: ['orders:read,list']}]":                                "orders:list and orders:read",
		"[{key: ['orders:read'], token: ['stock:read']}]":              "orders:read and stock:read",
		"[{key: ['orders:read', 'stock:read']}, {key: ['admin:all']}]": "orders:read and stock:read, or admin:all",
		"[{key: ['orders/{id}:read']}]":                                "orders/{id}:read",
		"[{key: []}]":                                                  "any valid key",
		"[{key: ['orders:read']}, {token: []}]":                        "orders:read, or any valid key",
		"[{basic: []}, {key: ['orders:read']}]":                        "orders:read",
		"[{tls: [], key: ['orders:read']}]":                            "what no key has",
		"[{basic: []}]":                                                "what no key has",
		"[{other: []}]":                                                "what no key has",
		"[{query: []}]":                                                "what no key has",
		"[{}]":                                                         "what no key has",
		"[{}, {key: ['orders:read']}]":                                 "orders:read",
		"[]":                                                           "what no key has",
	} {
		got, _ := said(t, document("  /orders/{id}: {get: {security: "+security+"}}", "security: [{key: ['everything:*']}]"), Options{})
		if len(got) != 1 || got[0] != "GET /orders/{id} -> "+want {
			t.Errorf("security: %s: got %q, want %s", security, got, want)
		}
	}
}

// TestDocument_OnlyAnExplicitEmptyListIsAnonymous: and only if anonymous operations are
// allowed.
func TestDocument_OnlyAnExplicitEmptyListIsAnonymous(t *testing.T) {
	paths := `
  /inherits: {get: {}}
  /null: {get: {security: null}}
  /empty: {get: {security: []}}
  /optional: {get: {security: [{}]}}
  /own: {get: {security: [{key: ["orders:read"]}]}}`
	for _, c := range []struct {
		global    string
		anonymous bool
		want      string
	}{
		{"", true, "empty"},
		{"security: []", true, "empty inherits null"},
		{"security: [{key: []}]", true, "empty"},
		{"security: [{}]", true, "empty"},
		{"security: null", true, "empty"},
		{"security: []", false, ""},
	} {
		got, notes := said(t, document(paths, c.global), Options{AllowAnonymous: c.anonymous})
		var open []string
		for _, line := range got {
			if path, ok := strings.CutSuffix(strings.TrimPrefix(line, "GET /"), " -> no key"); ok {
				open = append(open, path)
			}
		}
		if strings.Join(open, " ") != c.want || len(got) != 5 {
			t.Errorf("%q: open are %q, want %q; rules %q", c.global, open, c.want, got)
		}
		if text := strings.Join(notes, "\n"); !strings.Contains(text, "GET /empty") {
			t.Errorf("%q: the notes don't name what is open or would be: %s", c.global, text)
		}
	}
}

func TestDocument_OperationsAreRulesAtTheirServers(t *testing.T) {
	got, notes := said(t, document(`
  /: {get: {}, servers: [{url: /}]}
  /orders/: {get: {}}
  /orders/{order-id}: {get: {}, delete: {servers: [{url: "https://admin.example.com"}]}}
  /orders/{id}/items/{item_id}: {post: {}}`, `
security: [{key: []}]
servers:
  - {url: "https://API.example.com:8443/v1/"}
  - {url: "https://{region}.example.com/v1", variables: {region: {default: eu, enum: [eu, us]}}}
  - {url: /v1}
`), Options{})
	want := []string{
		"GET /{$}",
		"GET /v1/orders/{$}", "GET api.example.com/v1/orders/{$}", "GET eu.example.com/v1/orders/{$}", "GET us.example.com/v1/orders/{$}",
		"GET /v1/orders/{p1}", "GET api.example.com/v1/orders/{p1}", "GET eu.example.com/v1/orders/{p1}", "GET us.example.com/v1/orders/{p1}",
		"DELETE admin.example.com/orders/{p1}",
		"POST /v1/orders/{id}/items/{item_id}", "POST api.example.com/v1/orders/{id}/items/{item_id}",
		"POST eu.example.com/v1/orders/{id}/items/{item_id}", "POST us.example.com/v1/orders/{id}/items/{item_id}",
	}
	for i := range got {
		got[i] = strings.TrimSuffix(got[i], " -> any valid key")
	}
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(got, want) || len(notes) > 0 {
		t.Errorf("got\n%s\n%s", strings.Join(got, "\n"), strings.Join(notes, "\n"))
	}
}

func TestDocument_UnenforceableRequirementRefusesIt(t *testing.T) {
	op := "{get: {security: [{key: ['a:read']}]}}"
	for name, c := range map[string]struct{ document, want string }{
		"no YAML":                {"{", "is no OpenAPI document"},
		"another kind":           {"swagger: '2.0'\ninfo: {title: a, version: '1'}\npaths: {}", "write it in 3.0, 3.1 or 3.2"},
		"part of a segment":      {string(document("  /files/v{name}: "+op, "")), "is neither a whole segment nor a last one"},
		"an end in the middle":   {string(document("  /files/{name}.d/x: "+op, "")), "is neither a whole segment nor a last one"},
		"two in one":             {string(document("  /files/{name}-{part}: "+op, "")), "is neither a whole segment nor a last one"},
		"encoded, misspelt":      {string(document("  /a/{b}: {x-extauthz-encoded: yes, get: {security: [{key: ['a:read']}]}}", "")), "write allow or refuse"},
		"a query":                {string(document("  /a?b=c: "+op, "")), "a query or fragment"},
		"no slash":               {string(document("  a: "+op, "")), "has to begin with"},
		"a scope of no form":     {string(document("  /a: {get: {security: [{key: [read]}]}}", "")), "write resource:action"},
		"an unknown scheme":      {string(document("  /a: {get: {security: [{kee: []}]}}", "")), `"kee", which components.securitySchemes lacks`},
		"misspelt operation":     {string(document("  /a: {get: {securities: []}}", "")), `GET /a has a field "securities"`},
		"misspelt document":      {string(document("  /a: "+op, "Security: []")), `the document has a field "Security"`},
		"misspelt method":        {string(document("  /a: {gett: {security: []}}", "")), `/a has a field "gett"`},
		"another document":       {string(document("  /a: {$ref: 'other.yaml#/a'}", "")), "bundle them into one file"},
		"a reference to none":    {string(document("  /a: {$ref: '#/paths/~1b'}", "")), "/a refers to #/paths/~1b, which is not there"},
		"a reference beside":     {string(document("  /a: {$ref: '#/paths/~1b', get: {security: []}}\n  /b: "+op, "")), `/a has "get" beside $ref`},
		"references in a circle": {string(document("  /a: {$ref: '#/paths/~1a'}", "")), "references follow one another"},
		"another's scheme":       {"openapi: 3.1.0\ncomponents: {securitySchemes: {key: {$ref: 'other.yaml#/key'}}}\npaths: {}", "the security scheme key refers to another document (other.yaml#/key): bundle them"},
		"security no list":       {string(document("  /a: {get: {security: {}}}", "")), "GET /a: security has to be a list"},
		"security a text":        {string(document("  /a: {get: {}}", "security: ''")), "GET /a: security has to be a list"},
		"nothing in security":    {string(document("  /a: {get: {security: [null]}}", "")), "each member of security has to be a mapping"},
		"scopes no list":         {string(document("  /a: {get: {security: [{key: }]}}", "")), "the scopes of key have to be a list"},
		"a scope no text":        {string(document("  /a: {get: {security: [{key: [1]}]}}", "")), "the scopes of key have to be a list"},
		"an operation no map":    {string(document("  /a: {get: []}", "")), "GET /a has to be a mapping"},
		"paths no map":           {string(document("  - /a", "")), "paths has to be a mapping"},
		"a version no text":      {"openapi: 3.1\npaths: {}", `has no text "openapi"`},
		"get once more":          {string(document("  /a: {additionalOperations: {GET: {security: []}}}", "")), `additionalOperations has "GET"`},
		"an open variable":       {string(document("  /a: "+op, "servers: [{url: 'https://{x}/'}]")), "a variable that is not described"},
		"a server with query":    {string(document("  /a: "+op, "servers: [{url: '/v1?x=y'}]")), "without query and fragment"},
		"security twice":         {string(document("  /a: {get: {security: [{key: ['a:read']}], security: []}}", "")), "is no OpenAPI document"},
		"twice in JSON": {`{"openapi":"3.0.3","info":{"title":"a","version":"1"},"components":{"securitySchemes":{"key":{"type":"apiKey","in":"header","name":"x-api-key"}}},` +
			`"paths":{"/a":{"get":{"security":[{"key":["a:read"]}],"security":[]}}}}`, "is no OpenAPI document"},
	} {
		rules, _, err := Read([]byte(c.document), Options{Sources: sources, AllowAnonymous: true})
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: got %v and %v, want %q in one line", name, err, rules, c.want)
		}
	}
}

func TestRead_LiteralEndsAndEncodedData(t *testing.T) {
	const read = "security: [{key: ['orders:read']}]"
	lines, _ := said(t, document(`  /orders/{id}:cancel: {post: {`+read+`}}
  /orders/{id}.json: {get: {security: [{key: ["orders/{id}:read"]}]}}
  /projects/{id}: {x-extauthz-encoded: allow, get: {`+read+`}, delete: {x-extauthz-encoded: refuse, `+read+`}}
`, ""), Options{})
	if got, want := strings.Join(lines, "\n"), `GET /orders/{id}.json -> orders/{id}:read
POST /orders/{id}:cancel -> orders:read
DELETE /projects/{id} -> orders:read
GET /projects/{id} -> orders:read`; got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	rules, _, err := Read(document(`  /projects/{id}: {x-extauthz-encoded: allow, get: {`+read+`}, delete: {x-extauthz-encoded: refuse, `+read+`}}`, ""), Options{Sources: sources})
	if err != nil || len(rules) != 2 || rules[0].Encoded || !rules[1].Encoded {
		t.Errorf("got %+v, %v", rules, err)
	}
	for _, bad := range []string{"'/files/{name}:a b': {get: {" + read + "}}", "/a: {get: {x-extauthz-encoded: allow, " + read + "}}",
		"/a/{b}: {get: {x-extauthz-encoded: allow, security: [{key: ['a/{b}:read']}]}}"} {
		rules, _, err := Read(document("  "+bad, ""), Options{Sources: sources})
		if err == nil {
			_, err = authz.NewRouteTable(rules)
		}
		if err == nil {
			t.Errorf("%s was taken", bad)
		}
	}
}

// TestDocument_FollowsReferences: references in schemas, which may lead to other
// documents, do not matter.
func TestDocument_FollowsReferences(t *testing.T) {
	got, _ := said(t, []byte(`openapi: 3.2.0
security: [{again: ["orders:read"]}]
components:
  securitySchemes:
    key: {type: apiKey, in: header, name: x-api-key}
    again: {$ref: "#/components/securitySchemes/key"}
  pathItems:
    shared: {get: {}, additionalOperations: {COPY: {}}}
  schemas: {order: {$ref: "schemas.yaml#/order"}}
paths:
  x-own: {get: 1}
  /a/{id}: {$ref: "#/components/pathItems/shared", summary: the same}
  /b: {$ref: "#/paths/~1a~1%7Bid%7D"}
  /c: {post: {responses: {200: {description: "", content: {a/b: {schema: {$ref: "schemas.yaml#/order"}}}}}}, query: {}}
`), Options{})
	slices.Sort(got)
	var want []string
	for _, operation := range []string{"COPY /a/{id}", "COPY /b", "GET /a/{id}", "GET /b", "POST /c", "QUERY /c"} {
		want = append(want, operation+" -> orders:read")
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestDocument_MayBeJSON(t *testing.T) {
	got, _ := said(t, []byte("{\n\t\"openapi\": \"3.0.3\",\n\t\"info\": {\"title\": \"a\", \"version\": \"1\"},\n\t\"paths\": {\n\t\t\"\\/a\": {\"get\": {\"security\": [],\n\t\t\"responses\": {}}}}}"), Options{AllowAnonymous: true})
	if len(got) != 1 || got[0] != "GET /a -> no key" {
		t.Errorf("got %q", got)
	}
}

func TestDocument_ReportsEveryProblem(t *testing.T) {
	_, _, err := Read(document("  /a: {get: {security: [{key: [read]}]}}\n  /b{c}: {get: {}}\n  /d: {get: {x-own: 1, tgas: []}}", ""), Options{Sources: sources})
	if lines := strings.Split(fmt.Sprint(err), "\n"); len(lines) != 3 {
		t.Errorf("got %v", err)
	}
}

func FuzzNoDocumentOpensWhatIsNotAllowed(f *testing.F) {
	f.Add(document("  /a: {get: {security: []}}", "security: []"))
	f.Add(document("  /a: {get: {}}", "security: [{}]"))
	f.Add(document("  /{a}/{b}/: {get: {}, servers: [{url: .}]}", "servers: [{url: v1}]"))
	f.Fuzz(func(t *testing.T, document []byte) {
		rules, _, err := Read(document, Options{Sources: sources})
		if err != nil {
			return
		}
		for _, r := range rules {
			if r.Anonymous || r.AnyOf == nil && (r.Resource == "" || r.Action == "") {
				t.Errorf("%+v requires nothing", r)
			}
		}
	})
}
