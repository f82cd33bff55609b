package e2e

import (
	"strings"
	"testing"
)

// TestDefaultMap_DropsNoNameThatBeginsWithV: no prefix in the path lets a key for one
// resource reach another one.
func TestDefaultMap_DropsNoNameThatBeginsWithV(t *testing.T) {
	onEach(t, func(t *testing.T, version string) {
		s := newStack(t, version, ``)
		key := "x-api-key: " + s.NewKey("--scope", "transactions:read,create", "--scope", "GetPan:create", "--scope", "pkg.Orders:create").Key
		for _, path := range []string{"/transactions", "/v1/transactions/1", "/api/transactions", "/api/v2beta1/transactions/1", "/v1p1beta1/transactions", "/v1alpha/transactions"} {
			s.allowed(s.ask("GET", path, key))
		}
		for _, path := range []string{"/vaults/transactions/1", "/virtual-cards/transactions", "/v/transactions", "/v1x/transactions", "/v2026/transactions", "/v1.0/transactions", "/V1/transactions",
			"/api/vaults/transactions", "/v1/v2/transactions", "/%76aults/transactions", "/v1/vaults/transactions", "/%7Bversion%7D/transactions", "/vbeta/transactions"} {
			if a := s.ask("GET", path, key); a.status == 200 || a.reached {
				t.Errorf("%s: got %d, upstream reached: %v", path, a.status, a.reached)
			}
		}
		for _, path := range []string{"/visa.v1.Cards/GetPan", "/v1.Cards/GetPan", "/v1beta1.Cards/GetPan", "/api.Cards/GetPan"} {
			s.denied(s.ask("POST", path, key, "content-length: 0"), 403, "scope_missing")
		}
		for _, path := range []string{"/api/pkg.Orders/DeleteOrder", "/v1/pkg.Orders/DeleteOrder", "/api/v1/pkg.Orders/DeleteOrder"} {
			s.denied(s.ask("POST", path, key, "content-length: 0"), 403, "route_denied")
		}
		s.allowed(s.ask("POST", "/visa.v1.Cards/GetPan", "x-api-key: "+s.NewKey("--scope", "visa.v1.Cards:read").Key, "content-length: 0"))
	})
}

// TestDefaultRoute_IsClosedBesideRules: if a request differs from a rule by a slash, a
// prefix, a method or a host, it is denied, unless the configuration says map.
func TestDefaultRoute_IsClosedBesideRules(t *testing.T) {
	const rules = `routes:
  - {match: "DELETE /pay/{id}", resource: pay, action: purge}
  - {match: "POST /v1/payments", resource: payments, action: approve}
  - {match: "DELETE tenant-b.example.com/vaults/{id}", resource: vaults, action: purge}
`
	beside := []string{"DELETE /pay/1/", "DELETE /v1/pay/1", "DELETE /api/pay/1", "DELETE /api/v1/pay/1", "DELETE /pay/1/2", "DELETE /pay", "PUT /pay/1", "GET /pay/1", "OPTIONS /pay/1",
		"POST /v1/payments/", "POST /payments", "POST /v2/payments", "POST /v1/payments/1", "DELETE /vaults/1", "GET /unheard-of"}
	onEach(t, func(t *testing.T, version string) {
		t.Run("unset", func(t *testing.T) {
			s := newStack(t, version, rules)
			key := "x-api-key: " + s.NewKey("--scope", "pay:delete,update,read", "--scope", "payments:create", "--scope", "vaults:delete").Key
			all := "x-api-key: " + s.NewKey("--scope", "*:*").Key
			for _, request := range beside {
				method, path, _ := strings.Cut(request, " ")
				s.denied(s.ask(method, path, key, "content-length: 0"), 403, "route_denied")
				s.denied(s.ask(method, path, all, "content-length: 0"), 403, "route_denied")
			}
			s.denied(s.ask("DELETE", "/pay/1", key), 403, "scope_missing")
			s.allowed(s.ask("DELETE", "/pay/1", "x-api-key: "+s.NewKey("--scope", "pay:purge").Key))
			for _, host := range []string{"tenant-b.example.com", "TENANT-B.example.com.", "tenant-b.example.com:8443"} {
				s.denied(s.sendTo(host, "DELETE", "/vaults/1", "close", key), 403, "scope_missing")
			}
		})
		t.Run("map", func(t *testing.T) {
			s := newStack(t, version, rules+"default_route: map\n")
			key := "x-api-key: " + s.NewKey("--scope", "pay:delete,update,read", "--scope", "payments:create", "--scope", "vaults:delete").Key
			s.allowed(s.ask("DELETE", "/pay/1/", key))
			_, warned, err := s.CLI("config", "check", "--config", s.Configuration)
			if err != nil {
				t.Fatal(err)
			}
			listed := s.Must("routes", "list", "--config", s.Configuration)
			for _, request := range []string{"DELETE /pay/1/", "DELETE /v1/pay/1", "DELETE /api/pay/1", "POST /v1/payments/", "DELETE any-other-host.example/vaults/1"} {
				if !strings.Contains(warned, " "+request+",") && !strings.Contains(warned, " "+request+" (") || !strings.Contains(listed, "beside it: "+request+" ") {
					t.Errorf("%s is not named by config check:\n%s\nand routes list:\n%s", request, warned, listed)
				}
			}
		})
	})
}

// TestPrintedBootstrap_ServesTheHostsOfRules: in every form of these hosts, and no other
// host.
func TestPrintedBootstrap_ServesTheHostsOfRules(t *testing.T) {
	onEach(t, func(t *testing.T, version string) {
		s := newStack(t, version, `routes:
  - {match: "GET tenant-b.example.com/vaults/{id}", resource: vaults}
  - {match: "GET [::1]/vaults/{id}", resource: vaults}
  - {match: "api.example.com/healthz", anonymous: true}
`)
		key := "x-api-key: " + s.NewKey("--scope", "vaults:read").Key
		for _, host := range []string{"tenant-b.example.com", "tenant-b.example.com:10000", "TENANT-B.Example.COM", "tenant-b.example.com.", "Tenant-B.example.com.:443", "[::1]", "[::1]:10000"} {
			s.allowed(s.sendTo(host, "GET", "/vaults/1", "close", key))
			s.denied(s.sendTo(host, "GET", "/vaults/1", "close"), 401, "missing_key")
			s.denied(s.sendTo(host, "GET", "/vaults/1/", "close", key), 403, "route_denied")
		}
		s.allowed(s.sendTo("tenant-a.example.com", "GET", "http://tenant-b.example.com:80/vaults/1", "close", key)) // the host in the target counts
		s.allowed(s.ask("GET", "/healthz"))
		before := s.stat("cluster.extauthz.upstream_rq_total")
		for _, host := range []string{"tenant-a.example.com", "example.com", "x.tenant-b.example.com", "tenant-b.example.com.evil.example", "127.0.0.1", "localhost:10000", "tenant-b.example.com:80:80", "tenant-b.example.com..", "*", "[::2]", "tenant-b.example.com@a.example"} {
			if a := s.sendTo(host, "GET", "/vaults/1", "close", key); a.status != 404 && a.status != 400 || a.reached {
				t.Errorf("%s: got %d (upstream reached: %v) %s", host, a.status, a.reached, a.body)
			}
		}
		if a := s.sendTo("tenant-b.example.com", "GET", "http://tenant-a.example.com/vaults/1", "close", key); a.status != 404 || a.reached {
			t.Errorf("the target's host: got %d, upstream reached: %v", a.status, a.reached)
		}
		if a := s.sendTo("tenant-a.example.com", "GET", "/vaults/1", "close", key); a.status != 404 {
			t.Errorf("an unlisted host: got %d", a.status)
		}
		if after := s.stat("cluster.extauthz.upstream_rq_total"); after != before {
			t.Errorf("the service was asked about hosts that no rule names: %s, then %s", before, after)
		}
		for _, host := range []string{"tenant-b.example.com:", "tenant-b.example.com:x"} { // Envoy drops everything after the colon
			s.denied(s.sendTo(host, "GET", "/vaults/1", "close", key), 400, "path_refused")
		}
	})
}
