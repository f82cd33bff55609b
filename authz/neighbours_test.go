package authz

import (
	"fmt"
	"slices"
	"testing"
)

// besides returns the neighbours of the first rule, each as "METHOD HOST/PATH
// requirement".
func besides(t *testing.T, fallback DefaultRoute, rules ...RouteConfig) []string {
	t.Helper()
	routes := table(t, rules...)
	var out []string
	for _, n := range NewNeighbours(routes, fallback, defaultMap(t, "/api", "/{version}")).Of(routes.Rules()[0]) {
		out = append(out, n.Method+" "+n.Host+n.Path+" "+n.Requires)
	}
	return out
}

func TestNeighbours_NamesWhatTheDefaultMappingDecides(t *testing.T) {
	for match, c := range map[string]struct {
		rule RouteConfig
		want []string
	}{
		"DELETE /pay/{id}": {RouteConfig{Resource: "pay", Action: "purge"}, []string{
			"DELETE /pay/1/ pay:delete", "DELETE /pay/1/1 pay:delete", "DELETE /api/pay/1 pay:delete", "DELETE /v1/pay/1 pay:delete", "DELETE /api/v1/pay/1 pay:delete",
			"GET /pay/1 pay:read", "HEAD /pay/1 pay:read", "POST /pay/1 pay:create", "PUT /pay/1 pay:update", "PATCH /pay/1 pay:update"}},
		"POST /v1/payments": {RouteConfig{Resource: "payments", Action: "approve"}, []string{
			"POST /v1/payments/ payments:create", "POST /v1/payments/1 payments:create", "POST /payments payments:create", "POST /api/payments payments:create",
			"POST /api/v1/payments payments:create", "POST /v2/payments payments:create", "POST /api/v2/payments payments:create",
			"GET /v1/payments payments:read", "HEAD /v1/payments payments:read", "PUT /v1/payments payments:update", "PATCH /v1/payments payments:update", "DELETE /v1/payments payments:delete"}},
		"POST /api/v3beta1/pay/{$}": {RouteConfig{Resource: "pay", Action: "approve"}, []string{
			"POST /api/v3beta1/pay pay:create", "POST /api/v3beta1/pay/1 pay:create", "POST /pay/ pay:create", "POST /api/pay/ pay:create", "POST /v1/pay/ pay:create", "POST /v2/pay/ pay:create",
			"POST /api/v1/pay/ pay:create", "POST /api/v2/pay/ pay:create",
			"GET /api/v3beta1/pay/ pay:read", "HEAD /api/v3beta1/pay/ pay:read", "PUT /api/v3beta1/pay/ pay:update", "PATCH /api/v3beta1/pay/ pay:update", "DELETE /api/v3beta1/pay/ pay:delete"}},
		"tenant-b.example.com/pay/": {RouteConfig{Resource: "pay", Action: "purge"}, []string{
			"GET tenant-b.example.com/pay pay:read", "GET tenant-b.example.com/api/pay/1 pay:read", "GET tenant-b.example.com/v1/pay/1 pay:read",
			"GET tenant-b.example.com/api/v1/pay/1 pay:read", "GET any-other-host.example/pay/1 pay:read"}},
		"GET /v1/report/{id}": {RouteConfig{Resource: "ledger", Action: "read"}, []string{
			"GET /v1/report/1/ report:read", "GET /v1/report/1/1 report:read", "GET /report/1 report:read", "GET /api/report/1 report:read", "GET /api/v1/report/1 report:read",
			"GET /v2/report/1 report:read", "GET /api/v2/report/1 report:read",
			"POST /v1/report/1 report:create", "PUT /v1/report/1 report:update", "PATCH /v1/report/1 report:update", "DELETE /v1/report/1 report:delete"}},
		"POST /pkg.v1.Pay/Purge": {RouteConfig{Resource: "pay", Action: "purge"}, []string{
			"POST /pkg.v1.Pay/Purge/ pkg.v1.Pay:create", "POST /pkg.v1.Pay/Purge/1 pkg.v1.Pay:create", "GET /pkg.v1.Pay/Purge pkg.v1.Pay:read", "HEAD /pkg.v1.Pay/Purge pkg.v1.Pay:read",
			"PUT /pkg.v1.Pay/Purge pkg.v1.Pay:update", "PATCH /pkg.v1.Pay/Purge pkg.v1.Pay:update", "DELETE /pkg.v1.Pay/Purge pkg.v1.Pay:delete"}},
	} {
		c.rule.Match = match
		if got := besides(t, DefaultRouteMap, c.rule); !slices.Equal(got, c.want) {
			t.Errorf("%s:\n got %q\nwant %q", match, got, c.want)
		}
	}
}

// TestNeighbours_LeavesOutWhatRequiresAsMuch: a mapping that requires as much as the
// rule, or more, weakens nothing.
func TestNeighbours_LeavesOutWhatRequiresAsMuch(t *testing.T) {
	for _, rule := range []RouteConfig{
		{Match: "GET /orders/{id}", Resource: "orders/{id}"},
		{Match: "GET /orders/{id}", Resource: "orders", Action: "read"},
		{Match: "/v1/orders/", Resource: "orders"},
		{Match: "DELETE /v1/orders/{id}", Resource: "orders/eu/{id}", Action: "delete"},
		{Match: "GET /orders", AnyOf: [][]Need{{{Resource: "admin", Action: "all"}}, {{Resource: "orders", Action: "read"}}}},
		{Match: "GET /orders", Anonymous: true},
		{Match: "GET /orders", AnyOf: [][]Need{{{Resource: "admin", Action: "all"}}, {}}},
	} {
		if got := besides(t, DefaultRouteMap, rule); len(got) != 0 {
			t.Errorf("%s %s: %q", rule.Match, rule.Resource, got)
		}
	}
	for _, rule := range []RouteConfig{
		{Match: "GET /orders/{id}", Resource: "order/{id}"}, // a scope on orders is not enough
		{Match: "GET /orders/{id}", AnyOf: [][]Need{{{Resource: "orders", Action: "read"}, {Resource: "stock", Action: "read"}}}},
		{Match: "GET /orders/{id}", AnyOf: [][]Need{}}, // no key meets it
		{Match: "/orders/", Resource: "orders", Action: "read"},
	} {
		if got := besides(t, DefaultRouteMap, rule); len(got) == 0 {
			t.Errorf("%s %s has no neighbours", rule.Match, rule.Resource)
		}
		if got := besides(t, DefaultRouteDeny, rule); len(got) != 0 {
			t.Errorf("%s beside deny: %q", rule.Match, got)
		}
	}
}

func TestNeighbours_NamesWeakerRulesAndAnyKey(t *testing.T) {
	purge := RouteConfig{Match: "DELETE a.example.com/pay/{id}", Resource: "pay", Action: "purge"}
	got := besides(t, DefaultRouteDeny, purge,
		RouteConfig{Match: "/pay/", Anonymous: true},
		RouteConfig{Match: "/v1/", AnyOf: [][]Need{{}}},
		RouteConfig{Match: "/api/", Resource: "api"}, // requires as much as the rule
		RouteConfig{Match: "POST a.example.com/pay/{id}", Resource: "pay", Action: "approve"})
	want := []string{"DELETE a.example.com/pay/1/ no key", "DELETE a.example.com/pay/1/1 no key", "DELETE a.example.com/v1/pay/1 any valid key",
		"GET a.example.com/pay/1 no key", "HEAD a.example.com/pay/1 no key", "PUT a.example.com/pay/1 no key", "PATCH a.example.com/pay/1 no key", "OPTIONS a.example.com/pay/1 no key",
		"DELETE any-other-host.example/pay/1 no key"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q\nwant %q", got, want)
	}

	got = besides(t, DefaultRouteAuthenticated, purge, RouteConfig{Match: "any-other-host.example/", Resource: "other"})
	for _, want := range []string{"DELETE a.example.com/pay/1/ any valid key", "OPTIONS a.example.com/pay/1 any valid key", "DELETE xany-other-host.example/pay/1 any valid key"} {
		if !slices.Contains(got, want) {
			t.Errorf("%q is not in %q", want, got)
		}
	}

	got = besides(t, DefaultRouteAuthenticated, RouteConfig{Match: "GET /me", AnyOf: [][]Need{{}}}, RouteConfig{Match: "/me/{$}", Anonymous: true})
	if want := []string{"GET /me/ no key"}; !slices.Equal(got, want) {
		t.Errorf("beside any valid key: got %q, want %q", got, want)
	}
}

// TestNeighbours_StartFromARequestOfTheRule: for every kind of pattern, and whichever
// more specific rules exist.
func TestNeighbours_StartFromARequestOfTheRule(t *testing.T) {
	for _, match := range []string{"/", "/{$}", "/a", "/a/", "/a/{$}", "/{x}", "/{x}/", "/{x...}", "/a/{x}/b/{y...}", "PURGE /a", "GET h/{a}/{b}/{$}", "/a%20b/{x}", "[::1]/a/{x}", "POST /a/{x}:cancel", "/{a}/{b}.json"} {
		routes := table(t, RouteConfig{Match: match, Resource: "r", Action: "a"})
		r := routes.Rules()[0]
		method := "GET"
		if r.pattern.method != "" {
			method = r.pattern.method
		}
		c := (&Neighbours{routes: routes}).sample(r, method)
		if routes.Match(method, r.pattern.host, c.path, &Captures{}) != r {
			t.Errorf("%s: the sample is %q", match, c.path)
		}
	}
	got := besides(t, DefaultRouteMap, RouteConfig{Match: "DELETE /pay/{id}", Resource: "pay", Action: "purge"}, RouteConfig{Match: "DELETE /pay/1", Anonymous: true})
	if !slices.Contains(got, "DELETE /pay/x/ pay:delete") || slices.Contains(got, "DELETE /pay/1/ pay:delete") {
		t.Errorf("got %q", got)
	}
}

// TestNeighbours_AreReallyDecidedSo: the authorizer decides each neighbour as reported.
func TestNeighbours_AreReallyDecidedSo(t *testing.T) {
	mapping := defaultMap(t, "/api", "/{version}", "/shop/{version}", "/eu", "/x", "/y")
	routes := table(t, RouteConfig{Match: "DELETE a.example.com/v1/pay/{id}", Resource: "pay", Action: "purge"}, RouteConfig{Match: "/pay/{id}", Anonymous: true})
	n := NewNeighbours(routes, DefaultRouteMap, mapping).Of(routes.Rules()[0])
	if len(n) < 20 || len(n) > 100 {
		t.Errorf("%d neighbours", len(n))
	}
	a := &Authorizer{Config: Config{Routes: routes, DefaultRoute: DefaultRouteMap, DefaultMap: mapping}}
	for _, n := range n {
		path, ok := judgedAs(n.Path, true, false)
		if !ok || path != n.Path {
			t.Errorf("%q is not canonical", n.Path)
		}
		var d Decision
		access := a.access(&Request{Method: n.Method}, n.Host, n.Path, &d, nil)
		switch {
		case n.Rule != nil && (d.Rule != n.Rule || access != AccessAnonymous),
			n.Rule == nil && (access != AccessScoped || d.Resource+":"+d.Action != n.Requires):
			t.Errorf("%+v is decided by %v %v %s:%s", n, d.Rule, access, d.Resource, d.Action)
		}
	}
}

// BenchmarkNeighboursOfTenThousandRules measures what `config check` does if an explicit
// default map is configured. It must take less than a second.
func BenchmarkNeighboursOfTenThousandRules(b *testing.B) {
	var rules []RouteConfig
	for i := range 5000 {
		rules = append(rules, RouteConfig{Match: fmt.Sprintf("DELETE h%d.example.com/v1/service-%d/orders/{id}", i%50, i), Resource: "pay", Action: "purge"},
			RouteConfig{Match: fmt.Sprintf("/v1/service-%d/static/", i), Resource: "static", Action: "x"})
	}
	routes, err := NewRouteTable(rules)
	if err != nil {
		b.Fatal(err)
	}
	mapping, err := NewDefaultMap([]string{"/api", "/{version}"})
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		found := 0
		n := NewNeighbours(routes, DefaultRouteMap, mapping)
		for _, r := range routes.Rules() {
			found += len(n.Of(r))
		}
		if found < 90_000 {
			b.Fatalf("%d neighbours", found)
		}
	}
}
