package authz

import (
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"
)

// judgedAs returns the path that a target is judged as without rules.
func judgedAs(target string, sanitised, repair bool) (path string, ok bool) {
	policy := PathPolicy{Repair: repair}
	judged, fault := policy.Judge(nil, "GET", "", target, sanitised)
	return judged.Path, fault == PathPlain
}

func TestPathPolicy_RefusesAmbiguousPaths(t *testing.T) {
	for target, want := range map[string]string{
		"/":                     "/",
		"/v1/orders/42?a=b/../": "/v1/orders/42",
		"/orders/":              "/orders/",
		"/caf%C3%A9/a%20b":      "/café/a b",
		"/ADMIN":                "/ADMIN",
		"/...":                  "/...",
		"":                      "!",
		"orders":                "!",
		"*":                     "!",
		"http://x/orders":       "!",
		"/public/../admin":      "!",
		"/public/..":            "!",
		"/./a":                  "!",
		"/a//b":                 "!",
		"//a":                   "!",
		`/a\b`:                  "!",
		"/a;x=1/b":              "!",
		"/a/..;x/admin":         "!",
		"/a%2fb":                "!",
		"/a%2Fb":                "!",
		"/a%5cb":                "!",
		"/a%00":                 "!",
		"/%2e%2e/admin":         "!",
		"/%61dmin":              "!",
		"/a%252e":               "!",
		"/a%3bb":                "!",
		"/a%":                   "!",
		"/a%zz":                 "!",
		"/a%ff":                 "!",
		"/a b":                  "!",
		"/a\x7f":                "!",
		"/caf\xc3\xa9":          "!",
		"/a#b":                  "!",
		"/a?b#c":                "!",
		"/a?b c":                "!",
	} {
		got, ok := judgedAs(target, false, false)
		if !ok {
			got = "!"
		}
		if got != want {
			t.Errorf("%q: got %q, want %q", target, got, want)
		}
	}
	if _, ok := judgedAs("/a!b", true, false); ok {
		t.Error("a path with ! may hide a byte in the sanitised form")
	}
	if _, ok := judgedAs("/a!b", false, false); !ok {
		t.Error("! is a plain character in the raw form")
	}
}

func TestPathPolicy_RepairsAsEnvoyDoes(t *testing.T) {
	for target, want := range map[string]string{
		"/a//..//admin":    "/a/admin",
		"/public/../admin": "/admin",
		"/../../x":         "/x",
		`/a\b`:             "/a/b",
		"/%61dmin":         "/admin",
		"/%2e%2e/admin":    "/admin",
		"/a/.":             "/a/",
		"/a/..":            "/",
		"/a%2fb":           "!",
		"/a/..;x/admin":    "!",
		"/a%252e":          "!",
	} {
		got, ok := judgedAs(target, false, true)
		if !ok {
			got = "!"
		}
		if got != want {
			t.Errorf("%q: got %q, want %q", target, got, want)
		}
	}
}

// TestAuthorizer_UpstreamGetsTheRepairedPath: the path that is judged is the path that is
// passed on.
func TestAuthorizer_UpstreamGetsTheRepairedPath(t *testing.T) {
	a, key := authorizer(t, func(c *Config, _ *Record, _ *keys) { c.Paths.Repair = true })
	for target, want := range map[string]string{
		"/orders//1":            "/orders/1",
		"/x/../orders/1?a=/../": "/orders/1?a=/../",
		"/%6frders/a%20b?":      "/orders/a%20b?",
		"/orders/1?a=b":         "",
		"/orders/caf%C3%A9":     "",
	} {
		d, err := a.Check(t.Context(), get(target, Header{Name: "x-api-key", Value: key}))
		if err != nil || !d.Allowed || d.Target != want {
			t.Errorf("%s: got %q, %v, %v", target, d.Target, d.Reason, err)
		}
	}
}

func FuzzCanonicalPathIsWhatEveryPartyReads(f *testing.F) {
	f.Add("/a/b%20c?x=1")
	f.Add("/%2e%2e/admin")
	f.Fuzz(func(t *testing.T, target string) {
		path, ok := judgedAs(target, false, false)
		if !ok {
			return
		}
		raw, _, _ := strings.Cut(target, "?")
		if decoded, err := url.PathUnescape(raw); err != nil || decoded != path {
			t.Fatalf("%q was read as %q, others read %q (%v)", target, path, decoded, err)
		}
		if cleanPath(path) != path {
			t.Fatalf("%q is not clean", path)
		}
	})
}

func TestCanonicalHost_FoldsAndRefuses(t *testing.T) {
	for in, want := range map[string]string{
		"": "", "API.Example.com": "api.example.com", "api.example.com:8443": "api.example.com",
		"api.example.com.": "api.example.com", "[2001:DB8::1]:80": "[2001:db8::1]", "my_host": "my_host",
		"a..b": "!", "a..": "!", ".a": "!", "a:": "!", "a:x": "!", "a:70000": "!", "u@a": "!", "a b": "!", "a,b": "!",
		"ä": "!", "a/b": "!", "[::1": "!", "[::1%25lo]": "!", ".": "!", "a:1:2": "!",
	} {
		got, ok := CanonicalHost(in)
		if !ok {
			got = "!"
		}
		if got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}

func table(t testing.TB, configs ...RouteConfig) *RouteTable {
	t.Helper()
	rt, err := NewRouteTable(configs)
	if err != nil {
		t.Fatal(err)
	}
	return rt
}

func TestRouteTable_MostSpecificRuleWins(t *testing.T) {
	rt := table(t,
		RouteConfig{Match: "/", Resource: "all"},
		RouteConfig{Match: "/orders/", Resource: "orders"},
		RouteConfig{Match: "GET /orders/{id}", Resource: "orders/{id}"},
		RouteConfig{Match: "GET /orders/special", Resource: "special"},
		RouteConfig{Match: "api.example.com/orders/{id}", Resource: "hosted/{id}", Action: "use"},
		RouteConfig{Match: "/healthz", Anonymous: true},
		RouteConfig{Match: "/end/{$}", Resource: "end"},
	)
	for _, c := range []struct{ method, host, path, want string }{
		{"GET", "", "/orders/42", "orders/42:read"},
		{"HEAD", "", "/orders/42", "orders/42:read"},
		{"POST", "", "/orders/42", "orders:create"},
		{"GET", "", "/orders/special", "special:read"},
		{"GET", "api.example.com", "/orders/42", "hosted/42:use"},
		{"GET", "api.example.com", "/other", "all:read"},
		{"GET", "", "/orders", "all:read"},
		{"GET", "", "/ORDERS/1", "all:read"},
		{"GET", "", "/end/", "end:read"},
		{"GET", "", "/end/x", "all:read"},
		{"TRACE", "", "/x", "refused"},
		{"GET", "", "/orders/a:b", "orders/a%3Ab:read"},
		{"GET", "", "/orders/a*", "orders/a%2A:read"},
		{"GET", "", "/orders/a b", "orders/a%20b:read"},
	} {
		var caps Captures
		r := rt.Match(c.method, c.host, c.path, &caps)
		if r == nil {
			t.Fatalf("%v: no rule", c)
		}
		resource, action, ok := r.Target(c.method, &caps)
		got := resource + ":" + action
		if !ok {
			got = "refused"
		}
		if got != c.want {
			t.Errorf("%v: got %s", c, got)
		}
		if all := rt.Matching(c.method, c.host, c.path); len(all) == 0 || all[0] != r {
			t.Errorf("%v: Matching does not begin with the winner", c)
		}
	}
}

// TestRule_ResourceIsTheSameInThePathOrBuilt.
func TestRule_ResourceIsTheSameInThePathOrBuilt(t *testing.T) {
	for _, c := range []struct{ match, resource, path, want string }{
		{"/v1/orders/{id}", "orders/{id}", "/v1/orders/42", "orders/42"},
		{"/v1/members/{id}", "orders/{id}", "/v1/members/42", "orders/42"},
		{"/orders/{id}", "long/orders/{id}", "/orders/42", "long/orders/42"},
		{"/orders/{id}", "xorders/{id}", "/orders/42", "xorders/42"},
		{"/xorders/{id}", "orders/{id}", "/xorders/42", "orders/42"},
		{"/orders/{id}/items/{item}", "orders/{id}/items/{item}", "/orders/4/items/2", "orders/4/items/2"},
		{"/orders/{id}/items/{item}", "orders/{item}/items/{id}", "/orders/4/items/2", "orders/2/items/4"},
		{"/orders/{id}/items/{item}", "orders/{id}/{item}", "/orders/4/items/2", "orders/4/2"},
		{"/orders/{id}/", "orders/{id}/sub", "/orders/4/sub/2", "orders/4/sub"},
		{"/orders/{id}/", "orders/{id}/sub", "/orders/4/subs/2", "orders/4/sub"},
		{"/a/{x}/{y}/{rest...}", "a/{y}", "/a/b/b/c", "a/b"},
	} {
		var caps Captures
		rule := table(t, RouteConfig{Match: c.match, Resource: c.resource}).Match("GET", "", c.path, &caps)
		if got, _, ok := rule.Target("GET", &caps); !ok || got != c.want {
			t.Errorf("%s for %s on %s: got %q, %v", c.resource, c.match, c.path, got, ok)
		}
	}
}

func TestRouteTable_ReportsEveryBadRule(t *testing.T) {
	bad := []RouteConfig{
		{Match: "/a"}, {Match: "/b", Resource: "b", Anonymous: true}, {Match: "/c", Resource: "extauthz/keys"},
		{Match: "/d/{id}", Resource: "d/{idx}"}, {Match: "x", Resource: "x"}, {Match: "/e/../f", Resource: "e"},
		{Match: "/g", Resource: "g", Shadow: true}, {Match: "/h", Resource: "h", Action: "READ"},
		{Match: "/{t}", Resource: "{t}"}, {Match: "/i", Resource: "i", Until: time.Unix(1, 0)},
	}
	_, err := NewRouteTable(bad)
	if err == nil || strings.Count(err.Error(), "\n") != len(bad)-1 {
		t.Fatalf("want %d problems, got %v", len(bad), err)
	}
}

// muxAccepts reports whether http.ServeMux takes the patterns.
func muxAccepts(patterns []string) (mux *http.ServeMux, ok bool) {
	defer func() {
		if recover() != nil {
			ok = false
		}
	}()
	mux = http.NewServeMux()
	for _, p := range patterns {
		mux.Handle(p, http.NotFoundHandler())
	}
	return mux, true
}

// plainHead matches methods and hosts that ServeMux and this package treat alike by
// design. Ports, unusual white space, hosts and methods are refused here and accepted by
// ServeMux.
var plainHead = regexp.MustCompile(`^([A-Z]{1,8} )?h?$`)

// neverServed finds characters that no pattern can have, since no judged path has them.
func neverServed(c rune) bool { return c != '/' && neverJudged(c) }

// literalEnd finds wildcards with a literal end, which ServeMux does not know.
var literalEnd = regexp.MustCompile(`/\{[^/}]*\}[^/]+$`)

func FuzzRouteTableAgreesWithServeMux(f *testing.F) {
	f.Add("GET /a/{x}", "/a/b", "/{y}/b", "GET", "/a/b")
	f.Add("/a/", "/a/{$}", "/a/{x...}", "POST", "/a/c/d")
	f.Add("h/a", "/a", "HEAD /a", "HEAD", "/a")
	f.Add("/a/{x}/c", "/a/b/", "GET /a/b/c", "GET", "/a/b/c")
	f.Fuzz(func(t *testing.T, p1, p2, p3, method, path string) {
		patterns := []string{p1, p2, p3}
		for _, p := range patterns {
			head, tail, _ := strings.Cut(p, "/")
			if cleanPath("/"+tail) != "/"+tail {
				return // ServeMux accepts such a pattern if it has no method
			}
			if !plainHead.MatchString(head) || strings.ContainsFunc(p, neverServed) || literalEnd.MatchString(p) {
				return
			}
		}
		var configs []RouteConfig
		for _, p := range patterns {
			configs = append(configs, RouteConfig{Match: p, Resource: "x", Action: "read"})
		}
		rt, err := NewRouteTable(configs)
		mux, ok := muxAccepts(patterns)
		if ok != (err == nil) {
			t.Fatalf("%q: ServeMux accepts %v, we say %v", patterns, ok, err)
		}
		canonical, good := judgedAs(path, false, false)
		if !ok || !good || !isToken(method) || method == "CONNECT" {
			return
		}
		r := &http.Request{Method: method, Host: "h", URL: &url.URL{Path: canonical}}
		handler, want := mux.Handler(r)
		if fmt.Sprintf("%T", handler) == "*http.redirectHandler" {
			return // ServeMux redirects /tree to /tree/; this service redirects no client
		}
		got := ""
		var caps Captures
		if rule := rt.Match(method, "h", canonical, &caps); rule != nil {
			got = rule.Pattern
		}
		if got != want {
			t.Fatalf("%q %s %s: we match %q, ServeMux %q", patterns, method, canonical, got, want)
		}
	})
}

// TestRule_AlternativesAreEnforced: a key has to meet every need of one alternative.
func TestRule_AlternativesAreEnforced(t *testing.T) {
	rule := func(anyOf ...[]Need) *RouteTable {
		return table(t, RouteConfig{Match: "/stock", AnyOf: append([][]Need{}, anyOf...)})
	}
	orders, stock, admin := Need{Resource: "orders", Action: "read"}, Need{Resource: "stock", Action: "read"}, Need{Resource: "admin", Action: "all"}
	for name, c := range map[string]struct {
		routes   *RouteTable
		has      []string
		reason   Reason
		required string
	}{
		"both":           {rule([]Need{orders, stock}, []Need{admin}), []string{"orders:read", "stock:*"}, ReasonGranted, "orders:read"},
		"the other":      {rule([]Need{orders, stock}, []Need{admin}), []string{"orders:read", "admin:all"}, ReasonGranted, "admin:all"},
		"half":           {rule([]Need{orders, stock}, []Need{admin}), []string{"orders:read"}, ReasonScope, "stock:read"},
		"halves of two":  {rule([]Need{orders, stock}, []Need{admin, stock}), []string{"orders:read", "admin:all"}, ReasonScope, "stock:read"},
		"any valid key":  {rule([]Need{}), nil, ReasonGranted, ":"},
		"what none has":  {rule(), []string{"*:*"}, ReasonRoute, ":"},
		"by what it has": {rule([]Need{admin}, []Need{}), []string{"orders:read"}, ReasonGranted, ":"},
	} {
		a, key := authorizer(t, func(config *Config, r *Record, _ *keys) {
			config.Routes, r.Scopes = c.routes, scopes(t, c.has...)
		})
		d, err := a.Check(t.Context(), get("/stock", Header{Name: "x-api-key", Value: key}))
		if err != nil || d.Reason != c.reason || d.Allowed != (c.reason == ReasonGranted) || d.Resource+":"+d.Action != c.required {
			t.Errorf("%s: got %v for %s:%s, %v", name, d.Reason, d.Resource, d.Action, err)
		}
		if d, _ := a.Check(t.Context(), get("/stock")); d.Allowed {
			t.Errorf("%s: allowed without a key", name)
		}
	}
}

// TestRouteTable_ConfiguredRuleReplacesADocuments: only a rule for the same requests is
// replaced, and rules of two documents conflict.
func TestRouteTable_ConfiguredRuleReplacesADocuments(t *testing.T) {
	own := RouteConfig{Match: "GET /a/{x}", Resource: "own"}
	document := func(match, source string) RouteConfig {
		return RouteConfig{Match: match, AnyOf: [][]Need{{}}, Source: source}
	}
	rules := table(t, own, document("GET /a/{y}", "d"), document("POST /a/{y}", "d")).Rules()
	if len(rules) != 2 || rules[0].Resource != "own" || rules[1].Pattern != "POST /a/{y}" {
		t.Errorf("got %+v", rules)
	}
	for _, configs := range [][]RouteConfig{
		{document("/a", "d"), document("/a", "e")},
		{{Match: "/{x}/b", Resource: "own"}, document("/a/{y}", "d")},
		{own, {Match: "GET /a/{y}", Resource: "own"}},
	} {
		if _, err := NewRouteTable(configs); err == nil {
			t.Errorf("%+v were taken", configs)
		}
	}
}

func TestRouteTable_ReportsRulesThatAnAnonymousOneOpens(t *testing.T) {
	for name, c := range map[string]struct {
		anonymous, protected string
		seen                 bool
	}{
		"an exception":                     {"/healthz", "/", false},
		"an exception in a subtree":        {"/orders/status", "/orders/{id}", false},
		"a public folder":                  {"/public/", "/", false},
		"a wildcard in a subtree":          {"GET /orders/{id}", "/orders/", true},
		"a folder of a folder":             {"/orders/public/", "/orders/", true},
		"other requests":                   {"POST /orders/{id}", "GET /orders/", false},
		"other paths":                      {"/orders/{id}", "/users/", false},
		"a catch-all":                      {"/", "/orders/", false},
		"a catch-all of a host":            {"a.example.com/", "/orders/", true},
		"a host's catch-all over a host's": {"a.example.com/", "a.example.com/orders/", false},
		"another host":                     {"a.example.com/orders/{id}", "b.example.com/orders/", false},
		"the same path on a host":          {"a.example.com/orders/{id}", "/orders/{id}", true},
	} {
		rules := table(t, RouteConfig{Match: c.anonymous, Anonymous: true}, RouteConfig{Match: c.protected, Resource: "x"})
		if seen := rules.Opened(rules.Rules()[0]); (len(seen) > 0) != c.seen {
			t.Errorf("%s: got %v", name, seen)
		}
	}
}

func TestRule_CatchAll(t *testing.T) {
	for pattern, want := range map[string]bool{
		"/": true, "GET /": true, "example.com/": true, "POST example.com/{all...}": true,
		"/{$}": false, "/healthz": false, "/a/{rest...}": false, "/{x}": false, "/{x}/{rest...}": false,
	} {
		if got := table(t, RouteConfig{Match: pattern, Anonymous: true}).Rules()[0].CatchAll(); got != want {
			t.Errorf("catchAll(%q) = %v", pattern, got)
		}
	}
}
