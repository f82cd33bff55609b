package authz

import (
	"strings"
	"testing"
)

func defaultMap(t *testing.T, prefixes ...string) *DefaultMap {
	t.Helper()
	m, err := NewDefaultMap(prefixes)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestDefaultMap_NamesFirstSegmentAndMethod(t *testing.T) {
	m := defaultMap(t, "/api", "/{version}")
	for _, c := range []struct{ method, path, want string }{
		{"GET", "/orders/42", "orders:read"}, {"POST", "/api/v1/orders", "orders:create"},
		{"PATCH", "/v2/orders", "orders:update"}, {"DELETE", "/api/orders/1", "orders:delete"},
		{"GET", "/", ""}, {"GET", "/v1/", ""}, {"OPTIONS", "/orders", ""}, {"GET", "/extauthz/keys", ""},
		{"GET", "/a:b", ""}, {"GET", "/api", "api:read"}, {"GET", "/v1", "v1:read"}, {"GET", "/api/v1/extauthz", ""},
		{"GET", "/api/v1/v2/orders", "v2:read"}, {"GET", "/v1/api/orders", "api:read"}, // each prefix is stripped once, in the given order
		{"GET", "/API/orders", "API:read"}, {"GET", "/apis/orders", "apis:read"}, {"GET", "/V1/orders", "V1:read"},
	} {
		if got := mapped(m, c.method, c.path); got != c.want {
			t.Errorf("%v: got %q", c, got)
		}
	}
}

// mapped returns the scope that the mapping requires, or "".
func mapped(m *DefaultMap, method, path string) string {
	resource, action, ok := m.Target(method, path)
	if !ok {
		return ""
	}
	return resource + ":" + action
}

// TestDefaultMap_StripsAPIVersionsOnly: a name that begins with v is a resource.
func TestDefaultMap_StripsAPIVersionsOnly(t *testing.T) {
	m := defaultMap(t, "/api", "/{version}")
	for _, version := range []string{"v0", "v1", "v2", "v12", "v123", "v1alpha", "v1beta", "v1alpha1", "v2beta1", "v2beta12", "v1p1beta1", "v1p2alpha", "v10p10beta10"} {
		for _, path := range []string{"/" + version + "/transactions/1", "/api/" + version + "/transactions"} {
			if got := mapped(m, "GET", path); got != "transactions:read" {
				t.Errorf("%s: got %q", path, got)
			}
		}
	}
	for _, name := range []string{"vaults", "virtual-cards", "v", "vv", "vx", "vault", "v1x", "v1-internal", "v1.0", "v1_1", "v01", "v1234", "v2026", "v20260101",
		"v1p1", "v1p", "v1pbeta1", "v1p01beta1", "v1beta01", "v1beta1234", "v1beta1p1", "v1alphabeta", "v1gamma", "v1rc1", "v1beta1x", "valpha", "vbeta", "vbeta1", "v-1",
		"v1 ", "v١", "V1", "V2beta1", "v1Beta1", "v1BETA", "{version}", "v*", "1", "w1", "xv1"} {
		for _, path := range []string{"/" + name + "/transactions/1", "/api/" + name + "/transactions"} {
			got := mapped(m, "GET", path)
			if want := name + ":read"; got != want && got != "" { // "v*" and "v1 " are no resources
				t.Errorf("%s: got %q, want %q", path, got, want)
			}
		}
	}
}

// TestDefaultMap_StripsNothingFromGRPC: the package is part of the service's name, and a
// call behind a prefix has no resource.
func TestDefaultMap_StripsNothingFromGRPC(t *testing.T) {
	long := strings.Repeat("CancelAllOf", 10)
	for _, prefixes := range [][]string{{"/api", "/{version}"}, {"/visa.v1.Cards"}, {"/v1.Cards", "/api/{version}", "/{version}/{version}"}} {
		m := defaultMap(t, prefixes...)
		for path, want := range map[string]string{
			"/visa.v1.Cards/GetPan": "visa.v1.Cards:read", "/v1.Cards/GetPan": "v1.Cards:read", "/v1beta1.Cards/DeleteCard": "v1beta1.Cards:delete",
			"/api.Cards/GetPan": "api.Cards:read", "/vault.v1.Secrets/RotateKey": "vault.v1.Secrets:rotate_key",
			"/pkg.v1.Orders/GetOrder": "pkg.v1.Orders:read", "/pkg.v1.Orders/List": "pkg.v1.Orders:read",
			"/pkg.Orders/CancelOrder": "pkg.Orders:cancel_order", "/pkg.Orders/Getaway": "pkg.Orders:getaway",
			"/pkg.Orders/BatchDeleteOrders": "pkg.Orders:delete", "/pkg.Orders/ExportCSV": "pkg.Orders:export_csv",
			"/pkg.Orders/" + long: "", // the name is too long for an action, and the call does not create
			// These are no gRPC calls: a lower-case name, a third segment, a name that no
			// method can have.
			"/pkg.orders/GetOrder": "pkg.orders:create", "/Orders/GetOrder": "Orders:create", "/pkg.Orders/getOrder": "pkg.Orders:create",
			"/pkg.Orders/GetOrder/x": "pkg.Orders:create", "/pkg.Orders/Get-Order": "pkg.Orders:create",
		} {
			if got := mapped(m, "POST", path); got != want {
				t.Errorf("%v: %s: got %q, want %q", prefixes, path, got, want)
			}
		}
		if got := mapped(m, "GET", "/pkg.Orders/GetOrder"); got != "pkg.Orders:read" {
			t.Errorf("a GET: %q", got)
		}
	}
	m := defaultMap(t, "/api", "/{version}")
	for _, path := range []string{"/api/pkg.Orders/DeleteOrder", "/v1/pkg.Orders/GetOrder", "/api/v1/visa.v1.Cards/GetPan", "/v2beta1/v1.Cards/GetPan"} {
		if got := mapped(m, "POST", path); got != "" {
			t.Errorf("%s: got %q; it may be a call of any kind", path, got)
		}
	}
}

func TestNewDefaultMap_RefusesPatterns(t *testing.T) {
	for _, prefix := range []string{"/v*", "/*", "/v?", "/v[0-9]", `/v\*`, "/{v}", "/{version", "/version}", "/{version}s", "/x{version}", "/{version...}", "/{Version}", "/{{version}}", "/api/v*",
		"", "/", "api", "{version}", "/a//b", "//a", "/a/../b", "/./a", "/a;b", "/%61", "/a%20b", "/a b", "/é", "/a?b", "/a#b"} {
		_, err := NewDefaultMap([]string{prefix})
		if err == nil || !strings.Contains(err.Error(), "write whole segments") || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: %v", prefix, err)
		}
	}
	if _, err := NewDefaultMap([]string{"/v*"}); err == nil || !strings.Contains(err.Error(), "/{version} for any API version") {
		t.Errorf("the remedy is not named: %v", err)
	}
	if _, err := NewDefaultMap([]string{"api", "/a//b", "/good", "/good/", "/good/{version}"}); err == nil || strings.Count(err.Error(), "\n") != 1 {
		t.Errorf("want two problems, got %v", err)
	}
}
