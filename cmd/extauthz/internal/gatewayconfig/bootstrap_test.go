package gatewayconfig

import (
	"bytes"
	"strings"
	"testing"
)

func TestBootstrap_RefusesWhatWouldBreakIt(t *testing.T) {
	good := Bootstrap{Listen: ":10000", Upstream: "api.internal:8080", Service: "unix:/run/extauthz.sock"}
	for _, edit := range []func(*Bootstrap){
		func(b *Bootstrap) { b.Listen = "10000" }, func(b *Bootstrap) { b.Upstream = "" },
		func(b *Bootstrap) { b.Service = "a b:1" }, func(b *Bootstrap) { b.Admin = "x:0" },
		func(b *Bootstrap) { b.HeaderPrefix = "X\"" }, func(b *Bootstrap) { b.Service = "unix:\"" },
		func(b *Bootstrap) { b.TLS.Authorities = "ca.pem" }, func(b *Bootstrap) { b.TLS.Name = "extauthz" },
		func(b *Bootstrap) { b.TLS = BootstrapTLS{Authorities: "ca.pem", Name: "a b"} },
		func(b *Bootstrap) { b.Hosts = []string{"a.example.com", "*"} }, func(b *Bootstrap) { b.Hosts = []string{"A.example.com"} },
		func(b *Bootstrap) { b.Hosts = []string{"a.example.com:80"} }, func(b *Bootstrap) { b.Hosts = []string{`a"]`} }, func(b *Bootstrap) { b.Hosts = []string{""} },
		func(b *Bootstrap) { b.TLS = BootstrapTLS{Authorities: "ca\".pem", Name: "extauthz"} },
		func(b *Bootstrap) {
			b.TLS = BootstrapTLS{Authorities: "ca.pem", Name: "extauthz", Certificate: "cert.pem"}
		},
	} {
		b := good
		edit(&b)
		if err := WriteBootstrap(&bytes.Buffer{}, b); err == nil {
			t.Errorf("%+v was taken", b)
		}
	}
	var out bytes.Buffer
	if err := WriteBootstrap(&out, good); err != nil {
		t.Fatal(err)
	}
	for _, must := range []string{"failure_mode_allow: false", "path_with_escaped_slashes_action: REJECT_REQUEST", "type: STRICT_DNS", `path: "/run/extauthz.sock"`,
		// A replica that dies or hangs delays no check more than once; docs/envoy.md
		// explains why each setting is needed.
		"retry_back_off: {base_interval: 0.005s, max_interval: 0.17s}", "consecutive_local_origin_failure: 3", "max_ejection_percent: 50", "max_retries: 1024"} {
		if !strings.Contains(out.String(), must) {
			t.Errorf("%s is missing", must)
		}
	}
}
