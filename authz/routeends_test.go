package authz

import (
	"fmt"
	"strings"
	"testing"
)

func TestRouteTable_LiteralEndsOfTheLastSegment(t *testing.T) {
	rt := table(t,
		RouteConfig{Match: "GET /orders/{id}", Resource: "orders/{id}"},
		RouteConfig{Match: "POST /orders/{id}:cancel", Resource: "orders/{id}", Action: "cancel"},
		RouteConfig{Match: "POST /orders/{id}:hard:cancel", Resource: "orders/{id}", Action: "hard_cancel"},
		RouteConfig{Match: "POST /orders/all:cancel", Resource: "bulk", Action: "cancel"},
		RouteConfig{Match: "POST /things:batchGet", Resource: "things", Action: "read"},
		RouteConfig{Match: "POST /{kind}:batchGet", Resource: "any", Action: "read"},
		RouteConfig{Match: "GET /packages/{name}.json", Resource: "packages/{name}"},
		RouteConfig{Match: "/packages/", Resource: "files", Action: "use"},
		RouteConfig{Match: "GET /orders/{id}/items/{item}.xml", Resource: "orders/{id}/items/{item}"},
	)
	for _, c := range []struct{ method, path, want string }{
		{"POST", "/orders/42:cancel", "orders/42:cancel"},
		{"POST", "/orders/42:x:cancel", "orders/42%3Ax:cancel"},
		{"POST", "/orders/42:hard:cancel", "orders/42:hard_cancel"},
		{"POST", "/orders/all:cancel", "bulk:cancel"},
		{"GET", "/orders/42:cancel", "orders/42%3Acancel:read"},
		{"POST", "/orders/:cancel", "none"},
		{"POST", "/orders/42:cancel/", "none"},
		{"POST", "/orders/42:Cancel", "none"},
		{"POST", "/things:batchGet", "things:read"},
		{"POST", "/users:batchGet", "any:read"},
		{"POST", "/a:b:batchGet", "any:read"},
		{"GET", "/packages/left-pad.json", "packages/left-pad:read"},
		{"HEAD", "/packages/a.b.json", "packages/a.b:read"},
		{"GET", "/packages/.json", "files:use"},
		{"GET", "/packages/left-pad.tgz", "files:use"},
		{"PUT", "/packages/left-pad.json", "files:use"},
		{"GET", "/packages/x/left-pad.json", "files:use"},
		{"GET", "/orders/4/items/2.xml", "orders/4/items/2:read"},
	} {
		var caps Captures
		rule := rt.Match(c.method, "", c.path, &caps)
		got := "none"
		if rule != nil {
			resource, action, _ := rule.Target(c.method, &caps)
			got = resource + ":" + action
		}
		if got != c.want {
			t.Errorf("%s %s: got %s, want %s", c.method, c.path, got, c.want)
		}
		if all := rt.Matching(c.method, "", c.path); (len(all) == 0) != (rule == nil) || rule != nil && all[0] != rule {
			t.Errorf("%s %s: Matching does not begin with the winner", c.method, c.path)
		}
	}
}

func TestRouteTable_LiteralEndsConflictWhereNoneIsMoreSpecific(t *testing.T) {
	for _, c := range []struct {
		one, other string
		conflict   bool
	}{
		{"/a/{x}:cancel", "/a/{y}:cancel", true},
		{"/a/{x}:cancel", "/{y}/1:cancel", true},
		{"GET /a/{x}:cancel", "/a/{y}", false},
		{"/a/{x}:cancel", "GET /a/{y}", true},
		{"/a/{x}:cancel", "/a/{y}", false},
		{"/a/{x}:cancel", "/a/{y}:b:cancel", false},
		{"/a/{x}:cancel", "/a/{y}:pay", false},
		{"/a/{x}:cancel", "/{y}/b:pay", false},
		{"/a/{x}:cancel", "/a/1:cancel", false},
		{"/a/{x}:cancel", "/a/:cancel", false},
		{"/a/{x}:cancel", "/a/", false},
		{"/a/{x}:cancel", "/a/{$}", false},
		{"GET /a/{x}:cancel", "POST /a/{y}:cancel", false},
		{"/{x}/b:cancel", "/a/{y}:cancel", true},
		{"/{x}/b", "/a/{y}:cancel", false},
		{"/a/{x}:cancel", "/{y}/:cancel", false},
	} {
		for _, pair := range [][2]string{{c.one, c.other}, {c.other, c.one}} {
			_, err := NewRouteTable([]RouteConfig{{Match: pair[0], Resource: "x", Action: "read"}, {Match: pair[1], Resource: "x", Action: "read"}})
			if (err != nil) != c.conflict {
				t.Errorf("%q, conflict %v: %v", pair, c.conflict, err)
			}
		}
	}
	for _, match := range []string{"/a/{x}:c/b", "/a/b{x}", "/a/b{x}c", "/a/{x}{y}", "/a/{x...}.json", "/a/{$}.json", "/a/{x}c%2F", "/a/{x};b", "/a/{x} b", "/a/{x", "/a;b", "/a%2Fb", "/a/%00"} {
		if _, err := NewRouteTable([]RouteConfig{{Match: match, Resource: "x"}}); err == nil {
			t.Errorf("%s was taken", match)
		}
	}
}

func TestRule_EncodedDataIsNoResource(t *testing.T) {
	for _, c := range []RouteConfig{
		{Match: "/a/{id}", Resource: "a/{id}", Encoded: true},
		{Match: "/a/{id}/{rest...}", Resource: "a/{id}", Encoded: true},
		{Match: "/a/b", Resource: "a", Encoded: true},
	} {
		if _, err := NewRouteTable([]RouteConfig{c}); err == nil || strings.Contains(err.Error(), "\n") {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

// TestRule_AnySegmentCanBeCaptured: characters that scopes can't have are
// percent-encoded.
func TestRule_AnySegmentCanBeCaptured(t *testing.T) {
	long := strings.Repeat("x", 300)
	a, key := authorizer(t, func(c *Config, r *Record, _ *keys) {
		c.Routes, r.Scopes = table(t, RouteConfig{Match: "GET /orders/{id}", Resource: "orders/{id}"}), scopes(t, "orders/*:read")
	})
	for id, want := range map[string]string{
		"2026-01-01T00:00:00Z": "2026-01-01T00%3A00%3A00Z", "sha256:ab12": "sha256%3Aab12", "my%20order": "my%20order",
		"2001:db8::1": "2001%3Adb8%3A%3A1", "a,b": "a%2Cb", "*": "%2A", "caf%C3%A9": "café", "a%E2%80%8Bb": "a%E2%80%8Bb",
		long: long, "@me": "@me", "42": "42",
	} {
		r := get("/orders/"+id, Header{Name: "x-api-key", Value: key})
		d, steps, err := a.Explain(t.Context(), r)
		if err != nil || !d.Allowed || d.Resource != "orders/"+want {
			t.Errorf("%s: %v for %q, %v", id, d.Reason, d.Resource, err)
		}
		if !strings.Contains(fmt.Sprint(steps), "orders/"+want) {
			t.Errorf("%s: the explanation has no resource: %v", id, steps)
		}
	}
	if d, _ := a.Check(t.Context(), get("/orders/"+strings.Repeat("x", maxCaptureLength+1), Header{Name: "x-api-key", Value: key})); d.Reason != ReasonRoute {
		t.Errorf("a value without bound: %v", d.Reason)
	}
}

func FuzzWriteSegment_IsInjectiveAndASegment(f *testing.F) {
	f.Add("a:b", "a%3Ab")
	f.Add("é", "e")
	f.Fuzz(func(t *testing.T, one, other string) {
		if one == "" || strings.ContainsRune(one, 0xfffd) || strings.ContainsRune(other, 0xfffd) {
			return
		}
		write := func(s string) string {
			var b strings.Builder
			writeSegment(&b, s)
			return b.String()
		}
		if !validSegment(write(one)) {
			t.Errorf("%q became %q", one, write(one))
		}
		if one != other && write(one) == write(other) {
			t.Errorf("%q and %q both became %q", one, other, write(one))
		}
	})
}

// TestRouteEnds_AllocateNothing: however many ends one position of the path has.
func TestRouteEnds_AllocateNothing(t *testing.T) {
	rt := manyEnds(t, 10_000)
	var c Captures
	if got := testing.AllocsPerRun(100, func() {
		if r := rt.Match("POST", "", "/v1/orders/0198f2c4:verb5000", &c); r == nil || c.values[0] != "0198f2c4" {
			t.Error("no rule")
		}
	}); got != 0 {
		t.Errorf("%v allocations", got)
	}
}

// manyEnds returns a table of n rules that differ in the literal end of their last
// wildcard, and one rule without such an end.
func manyEnds(t testing.TB, n int) *RouteTable {
	configs := []RouteConfig{{Match: "/v1/orders/{id}", Resource: "orders"}}
	for i := range n {
		configs = append(configs, RouteConfig{Match: fmt.Sprintf("POST /v1/orders/{id}:verb%d", i), Resource: "orders/{id}", Action: "use"})
	}
	return table(t, configs...)
}

func BenchmarkRouteEnds(b *testing.B) {
	for _, n := range []int{1, 10, 10_000} {
		rt := manyEnds(b, n)
		for name, path := range map[string]string{"found": fmt.Sprintf("/v1/orders/0198f2c4:verb%d", n-1), "none": "/v1/orders/0198f2c4-77aa"} {
			b.Run(fmt.Sprintf("%s/%d", name, n), func(b *testing.B) {
				b.ReportAllocs()
				var c Captures
				for b.Loop() {
					rt.Match("POST", "", path, &c)
				}
			})
		}
	}
}
