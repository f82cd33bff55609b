package envoy

import (
	"net/netip"
	"os"
	"testing"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/protobuf/encoding/protojson"

	"extauthz/authz"
)

// TestDecode_ReadsWhatPlatformsSend: the requests were recorded from an Envoy that Envoy
// Gateway or Istio's control plane had configured.
func TestDecode_ReadsWhatPlatformsSend(t *testing.T) {
	for file, route := range map[string]authz.GatewayRoute{
		"testdata/envoy-gateway-1.9.1.json": {Kind: "HTTPRoute", Namespace: "default", Name: "shop"},
		"testdata/istiod-2026-08.json":      {},
	} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var req authv3.CheckRequest
		if err := protojson.Unmarshal(text, &req); err != nil {
			t.Fatal(err)
		}
		var r authz.Request
		decode(&r, &req)
		if r.Method != "GET" || r.Path != "/a" || r.Host != "shop.example.com" || r.Scheme != "http" || !r.PathSanitised ||
			lineOf(&r, "x-api-key") != "good" || r.Peer != netip.MustParseAddr("127.0.0.1") || r.Route != route {
			t.Errorf("%s: got %+v", file, r)
		}
	}
}
