package authz

import (
	"fmt"
	"strings"
	"testing"
)

// realisticRules returns n rules like those of gateways: services on their own hosts and
// on any host, methods, parameters, whole subtrees, gRPC methods.
func realisticRules(t testing.TB, n int) *RouteTable {
	t.Helper()
	configs := []RouteConfig{{Match: "/", Resource: "site"}}
	for i := 0; len(configs) < n; i++ {
		host := fmt.Sprintf("api-%d.example.com", i%50)
		if i%3 == 0 {
			host = ""
		}
		service := fmt.Sprintf("%s/v%d/service-%d", host, i%3+1, i)
		configs = append(configs,
			RouteConfig{Match: "GET " + service + "/orders/{id}", Resource: "orders/{id}"},
			RouteConfig{Match: "GET " + service + "/orders/{id}/items/{item}", Resource: "orders/{id}/items/{item}"},
			RouteConfig{Match: "POST " + service + "/orders", Resource: "orders"},
			RouteConfig{Match: service + "/orders/{id}", Resource: "orders/{id}", Action: "change"},
			RouteConfig{Match: "DELETE " + service + "/archive/{collection}/{id}", Resource: "archive"},
			RouteConfig{Match: service + "/static/", Anonymous: true},
			RouteConfig{Match: fmt.Sprintf("POST %s/shop.v%d.Service%d/GetOrder", host, i%3+1, i), Resource: "orders", Action: "read"},
			RouteConfig{Match: fmt.Sprintf("POST %s/shop.v%d.Service%d/{method}", host, i%3+1, i), Resource: "orders", Action: "use"},
		)
	}
	return table(t, configs[:n]...)
}

// judged derives what a request's key needs from the request's target, and reports
// whether the scopes allow it.
func judged(rt *RouteTable, has Scopes, method, authority, target string) (rule *Rule, allowed bool) {
	host, okHost := CanonicalHost(authority)
	var policy PathPolicy
	path, fault := policy.Judge(rt, method, host, target, true)
	var c Captures
	if !okHost || fault != PathPlain {
		return nil, false
	}
	if rule = rt.Match(method, host, path.Match, &c); rule == nil || rule.Anonymous {
		return rule, rule != nil
	}
	resource, action, ok := rule.Target(method, &c)
	return rule, ok && has.Allows(resource, action)
}

// realisticRequests match the rules of the last service among 10,000 rules. end is the
// pattern that matches, without method and service.
var realisticRequests = []struct{ name, method, host, path, end string }{
	{"a parameter", "GET", "api-47.example.com:443", "/v3/service-1247/orders/42?expand=items", "/orders/{id}"},
	{"two parameters", "GET", "api-47.example.com", "/v3/service-1247/orders/0198f2c4-77aa-7bd1-9c7e-0f3e5a2b1c4d/items/7", "/orders/{id}/items/{item}"},
	{"any method", "PATCH", "api-47.example.com", "/v3/service-1247/orders/42", "/orders/{id}"},
	{"a subtree", "GET", "api-47.example.com", "/v3/service-1247/static/js/app/vendor/chunk.js", "/static/"},
	{"gRPC", "POST", "api-47.example.com", "/shop.v3.Service1247/GetOrder", "/GetOrder"},
	{"any gRPC method", "POST", "api-47.example.com", "/shop.v3.Service1247/ListOrders", "/{method}"},
	{"no rule of its own", "GET", "api-47.example.com", "/v3/service-77777/unknown/path/of/five", "/"},
}

// TestRouteTable_JudgingAllocatesNothing: from the target to the scopes, however many
// rules there are.
func TestRouteTable_JudgingAllocatesNothing(t *testing.T) {
	has := scopes(t, "*:*")
	for _, n := range []int{100, 10_000} {
		rt := realisticRules(t, n)
		for _, r := range realisticRequests {
			if rule, allowed := judged(rt, has, r.method, r.host, r.path); !allowed || n == 10_000 && !strings.HasSuffix(rule.Pattern, r.end) {
				t.Errorf("%s: %v by %v", r.name, allowed, rule)
			}
			if got := testing.AllocsPerRun(100, func() { judged(rt, has, r.method, r.host, r.path) }); got != 0 {
				t.Errorf("%s, %d rules: %v allocations", r.name, n, got)
			}
		}
	}
}

// TestDefaultMap_AllocatesNothing: except for the action of a gRPC method that is not a
// standard method.
func TestDefaultMap_AllocatesNothing(t *testing.T) {
	m, err := NewDefaultMap([]string{"/api", "/{version}"})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		method, path string
		want         float64
	}{
		{"GET", "/api/v1/orders/42", 0}, {"POST", "/orders", 0}, {"POST", "/shop.v1.Orders/BatchGetOrders", 0}, {"POST", "/shop.v1.Orders/CancelOrder", 1},
	} {
		if got := testing.AllocsPerRun(100, func() {
			if _, _, ok := m.Target(c.method, c.path); !ok {
				t.Error(c.path)
			}
		}); got != c.want {
			t.Errorf("%s %s: %v allocations", c.method, c.path, got)
		}
	}
}

// TestPathPolicy_PlainPathAllocatesNothing: for a canonical path, with and without
// repair, and for every way to write a host in lower case.
func TestPathPolicy_PlainPathAllocatesNothing(t *testing.T) {
	for _, host := range []string{"api.example.com", "api.example.com.:443", "10.0.0.1:80", "[2001:db8::1]:443", "[::ffff:10.0.0.1]"} {
		if got := testing.AllocsPerRun(100, func() {
			if _, ok := CanonicalHost(host); !ok {
				t.Error(host)
			}
		}); got != 0 {
			t.Errorf("%s: %v allocations", host, got)
		}
	}
	for _, repair := range []bool{false, true} {
		for _, target := range []string{"/", "/a/b/?x=//y", "/a.b/..c/d..?x=%2F", "/orders/0198f2c4-77aa-7bd1-9c7e-0f3e5a2b1c4d"} {
			if got := testing.AllocsPerRun(100, func() {
				if _, ok := judgedAs(target, true, repair); !ok {
					t.Error(target)
				}
			}); got != 0 {
				t.Errorf("%s, repair %v: %v allocations", target, repair, got)
			}
		}
	}
}

// TestScopes_AllowsAllocatesNothing: not even if the last of many scopes allows.
func TestScopes_AllowsAllocatesNothing(t *testing.T) {
	var texts []string
	for i := range MaxScopes - 1 {
		texts = append(texts, fmt.Sprintf("resource-%d/*:read", i))
	}
	has := scopes(t, append(texts, "z/*/items:read,update")...)
	if got := testing.AllocsPerRun(100, func() {
		if !has.Allows("z/1/items/2", "update") || has.Allows("z/1", "update") {
			t.Error("wrong")
		}
	}); got != 0 {
		t.Errorf("%v allocations", got)
	}
}

func BenchmarkRoute(b *testing.B) {
	has := scopes(b, "billing:read", "customers/eu:*", "orders:*", "reports:read", "archive:delete", "stock:read,update")
	for _, n := range []int{1, 100, 10_000} {
		rt := realisticRules(b, n)
		for _, r := range realisticRequests {
			host, _ := CanonicalHost(r.host)
			path, _ := judgedAs(r.path, true, false)
			b.Run(fmt.Sprintf("%s/%d/match", r.name, n), func(b *testing.B) {
				b.ReportAllocs()
				var c Captures
				for b.Loop() {
					rt.Match(r.method, host, path, &c)
				}
			})
			b.Run(fmt.Sprintf("%s/%d/whole", r.name, n), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					judged(rt, has, r.method, r.host, r.path)
				}
			})
		}
	}
}

// BenchmarkRouteAnywhere spreads requests over all rules, so that the memory that a match
// reads is seldom in the processor's cache.
func BenchmarkRouteAnywhere(b *testing.B) {
	rt := realisticRules(b, 10_000)
	type request struct{ host, path string }
	var requests []request
	for i := range 1248 {
		host := fmt.Sprintf("api-%d.example.com", i%50)
		requests = append(requests, request{host, fmt.Sprintf("/v%d/service-%d/orders/42/items/7", i%3+1, i)})
	}
	b.ReportAllocs()
	var c Captures
	for i := 0; b.Loop(); i++ {
		r := requests[i*37%len(requests)]
		if rt.Match("GET", r.host, r.path, &c).Resource != "orders/{id}/items/{item}" {
			b.Fatal(r)
		}
	}
}
