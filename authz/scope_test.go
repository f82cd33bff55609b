package authz

import (
	"math/rand/v2"
	"strings"
	"testing"
)

func scopes(t testing.TB, texts ...string) Scopes {
	t.Helper()
	s, err := ParseScopes(texts)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestScopes_AllowTheResourceAndBelow(t *testing.T) {
	for _, c := range []struct {
		scope, resource, action string
		want                    bool
	}{
		{"orders:read", "orders", "read", true},
		{"orders:read", "orders/42", "read", true},
		{"orders:read", "ordersx", "read", false},
		{"orders:read", "orders", "create", false},
		{"orders:*", "orders/eu/1", "delete", true},
		{"orders/eu:*", "orders", "read", false},
		{"orders/eu:*", "orders/eu/1", "read", true},
		{"orders/*/items:read", "orders/1/items/2", "read", true},
		{"orders/*/items:read", "orders/1", "read", false},
		{"*:read", "anything/at/all", "read", true},
		{"*:*", "extauthz", "read", false},
		{"*:*", "extauthz/keys", "create", false},
		{"*/keys:*", "extauthz/keys", "create", false},
		{"extauthz:*", "extauthz/keys", "create", true},
		{"extauthz/keys:create", "extauthz/keys", "revoke", false},
		{"Orders:read", "orders", "read", false},
		{"orders:read", "", "read", false},
		{"*:*", "orders", "", false},
	} {
		if got := scopes(t, c.scope).Allows(c.resource, c.action); got != c.want {
			t.Errorf("%s allows %s:%s: %v, want %v", c.scope, c.resource, c.action, got, c.want)
		}
	}
}

func TestScopes_ReportEveryProblem(t *testing.T) {
	bad := []string{"orders", ":read", "orders:", "or ders:read", "orders//x:read", "a*b:read", "orders:READ", "../x:read", "a\u200bb:read"}
	_, err := ParseScopes(bad)
	if err == nil || strings.Count(err.Error(), "\n") != len(bad)-1 {
		t.Fatalf("want %d problems, got %v", len(bad), err)
	}
}

func TestScopes_AreCanonical(t *testing.T) {
	s := scopes(t, "b:write,read", "a:*", "b:read", "a:read")
	if got := strings.Join(s.Strings(), " "); got != "a:* b:read b:write" {
		t.Fatalf("got %q", got)
	}
	if !s.Union(scopes(t, "c:read", "b:*")).Equal(scopes(t, "a:*", "b:*", "c:read")) {
		t.Fatal("union is not canonical")
	}
}

// TestScopes_CoveredGrantNothingMore tests a property: if s covers t, then s allows
// whatever t allows.
func TestScopes_CoveredGrantNothingMore(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	words := []string{"a", "b", "*", "extauthz"}
	resource := func(wild bool) string {
		n := 1 + rnd.IntN(3)
		var parts []string
		for len(parts) < n {
			if w := words[rnd.IntN(len(words))]; wild || w != "*" {
				parts = append(parts, w)
			}
		}
		return strings.Join(parts, "/")
	}
	actions := []string{"read", "create", "*"}
	covered := 0
	for range 200_000 {
		s := scopes(t, resource(true)+":"+actions[rnd.IntN(3)], resource(true)+":"+actions[rnd.IntN(3)])
		u := scopes(t, resource(true)+":"+actions[rnd.IntN(3)])
		if !s.Covers(u) {
			continue
		}
		covered++
		r, a := resource(false), actions[rnd.IntN(2)]
		if u.Allows(r, a) && !s.Allows(r, a) {
			t.Fatalf("%v covers %v but only the latter allows %s:%s", s, u, r, a)
		}
	}
	if covered < 1000 {
		t.Fatalf("only %d pairs were covered: the test shows nothing", covered)
	}
}
