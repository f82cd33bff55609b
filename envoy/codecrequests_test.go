package envoy

import (
	"bytes"
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

func marshalled(t testing.TB, m proto.Message) []byte {
	t.Helper()
	b, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// gatewayRequest returns the CheckRequest that Envoy sends for an ordinary request.
func gatewayRequest(path string, headers ...string) *authv3.CheckRequest {
	all := map[string]string{":authority": "api.example.com", ":method": "GET", ":path": path, ":scheme": "https",
		"accept": "application/json, text/plain, */*", "accept-encoding": "gzip, deflate, br", "accept-language": "en-US,en;q=0.9",
		"user-agent":       "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36",
		"x-envoy-internal": "true", "x-forwarded-for": "203.0.113.7", "x-forwarded-proto": "https", "x-request-id": "4f6c0f0e-3c53-9f6d-8a3e-000000000001"}
	for i := 0; i+1 < len(headers); i += 2 {
		all[headers[i]] = headers[i+1]
	}
	address := func(ip string) *authv3.AttributeContext_Peer {
		return &authv3.AttributeContext_Peer{Address: &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
			Address: ip, PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: 51744}}}}}
	}
	return &authv3.CheckRequest{Attributes: &authv3.AttributeContext{Source: address("203.0.113.7"), Destination: address("10.0.0.12"),
		Request: &authv3.AttributeContext_Request{Http: &authv3.AttributeContext_HttpRequest{
			Id: "1", Method: "GET", Headers: all, Path: path, Host: "api.example.com", Scheme: "https", Protocol: "HTTP/1.1", Size: -1}},
		MetadataContext: &corev3.Metadata{}, RouteMetadataContext: &corev3.Metadata{}}}
}

// field encodes one field of a message by hand, so that it can be one that no encoder
// writes.
func field(number protowire.Number, content ...[]byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(nil, number, protowire.BytesType), bytes.Join(content, nil))
}

func text(number protowire.Number, s string) []byte { return field(number, []byte(s)) }

func httpOf(fields ...[]byte) []byte { return field(1, field(4, field(2, fields...))) }

// oddRequests are messages that protobuf accepts, but that no encoder writes.
func oddRequests(key string) map[string][]byte {
	good := httpOf(text(2, "GET"), text(4, "/orders/1"), text(5, "h"), field(3, text(1, "x-api-key"), text(2, key)))
	varint := protowire.AppendVarint(protowire.AppendTag(nil, 4, protowire.VarintType), math.MaxUint64)
	var many [][]byte
	for i := range 2 * fewNames {
		many = append(many, field(3, text(1, fmt.Sprint("x-auth-", i)), text(2, "first")))
	}
	many = append(many, field(3, text(1, "x-auth-3"), text(2, "second")), field(3, text(1, fmt.Sprint("x-auth-", 2*fewNames-1)), text(2, "second")),
		field(13, field(1, text(1, "x-auth-5"), text(3, "raw"))), field(3, text(1, "x-auth-5"), text(2, "third")), text(4, "/public/a"), text(2, "GET"))
	group := protowire.AppendTag(append(protowire.AppendTag(nil, 99, protowire.StartGroupType), text(3, "x")...), 99, protowire.EndGroupType)
	return map[string][]byte{
		"nothing":                          {},
		"many headers, some of them twice": httpOf(many...),
		"the last scalar counts":           httpOf(text(4, "/secret"), text(2, "DELETE"), text(2, "GET"), text(4, "/orders/1"), field(3, text(1, "x-api-key"), text(2, key))),
		"messages add up":                  slices.Concat(good, httpOf(text(2, "POST")), field(1, field(4, field(2, text(4, "/orders/2"))))),
		"an entry's key occurs twice":      httpOf(text(4, "/orders/1"), text(2, "GET"), field(3, text(1, "cookie"), text(2, "no"), text(1, "x-api-key"), text(2, key))),
		"the last entry counts":            httpOf(text(4, "/orders/1"), text(2, "GET"), field(3, text(1, "x-api-key"), text(2, "bad")), field(3, text(1, "x-api-key"), text(2, key))),
		"an entry without a value":         httpOf(text(4, "/orders/1"), text(2, "GET"), field(3, text(1, "x-api-key"), text(2, key)), field(3, text(1, "x-api-key"))),
		"an entry without a key":           httpOf(text(4, "/orders/1"), text(2, "GET"), field(3, text(2, key))),
		"another type is another field":    slices.Concat(httpOf(text(4, "/orders/1"), text(2, "GET"), varint, field(3, text(1, "x-api-key"), text(2, key)))),
		"unknown fields":                   slices.Concat(group, httpOf(group, text(4, "/orders/1"), text(2, "GET"), text(500, "x"), field(3, text(1, "x-api-key"), text(2, key), text(9, "y"))), text(77, "z")),
		"raw lines say more": httpOf(text(4, "/x"), text(2, "POST"), field(3, text(1, "x-api-key"), text(2, "a,b")),
			field(13, field(1, text(1, ":path"), text(3, "/orders/1")), field(1, text(1, ":method"), text(2, "GET")), field(1, text(1, "X-Api-Key"), text(3, key)))),
		"raw lines before plain ones": httpOf(field(13, field(1, text(1, "x-api-key"), text(3, key), text(2, "no"))), field(13, field(1, text(1, ":authority"), text(3, "other"))),
			text(4, "/orders/1"), text(2, "GET"), field(3, text(1, "x-api-key"), text(2, "a,b"))),
		"a raw line twice":           httpOf(text(4, "/orders/1"), text(2, "GET"), field(13, field(1, text(1, "x-api-key"), text(3, key)), field(1, text(1, "x-api-key"), text(3, key)))),
		"raw bytes that are no text": httpOf(text(4, "/orders/1"), text(2, "GET"), field(13, field(1, text(1, "x-api-key"), text(3, "\xff")), field(1, text(1, ":path"), text(3, "/\xff")))),
		"pseudo-headers alone":       httpOf(field(3, text(1, ":path"), text(2, "/orders/1")), field(3, text(1, ":method"), text(2, "GET")), field(3, text(1, "x-api-key"), text(2, key))),
		"the address's last kind":    slices.Concat(good, field(1, field(1, field(1, field(1, text(2, "203.0.113.1")), field(2, text(1, "/pipe")))))),
		"extensions name the target": slices.Concat(httpOf(text(4, "/a"), text(2, "GET"), field(3, text(1, "x-api-key"), text(2, key))),
			field(1, field(10, text(1, "resource"), text(2, "none")), field(10, text(1, "resource"), text(2, "orders")), field(10, text(1, "action"), text(2, "read")))),
		"a key in a header that is not read":       httpOf(text(4, "/public/a"), text(2, "GET"), field(3, text(1, "X-Debug"), text(2, "k="+key))),
		"the last entry holds none":                httpOf(text(4, "/public/a"), text(2, "GET"), field(3, text(1, "x-debug"), text(2, key)), field(3, text(1, "x-debug"), text(2, "none"))),
		"the last entry holds a key":               httpOf(text(4, "/public/a"), text(2, "GET"), field(3, text(1, "x-debug"), text(2, "none")), field(3, text(1, "x-debug"), text(2, key))),
		"a raw line holds none, a plain does":      httpOf(text(4, "/public/a"), text(2, "GET"), field(3, text(1, "x-debug"), text(2, key)), field(13, field(1, text(1, "x-debug"), text(3, "none")))),
		"two raw lines, one with a key":            httpOf(text(4, "/public/a"), text(2, "GET"), field(13, field(1, text(1, "x-debug"), text(3, "none")), field(1, text(1, "x-debug"), text(3, key)))),
		"a plain line of no name after a raw line": httpOf(text(4, "/public/a"), text(2, "GET"), field(13, field(1, text(1, "x-debug"), text(3, key))), field(3, text(2, "a,b"))),
		"an identity header with a key":            httpOf(text(4, "/orders/1"), text(2, "GET"), field(3, text(1, "x-api-key"), text(2, key)), field(3, text(1, "x-auth-user-id"), text(2, key)), field(3, text(1, "x-auth-a"), text(2, key))),
		"a name that can't be removed, and a key":  httpOf(text(4, "/public/a"), text(2, "GET"), field(3, text(1, "a b"), text(2, key))),
		"a tag longer than need be":                slices.Concat([]byte{0x8a, 0x80, 0x00, byte(len(good) - 2)}, good[2:]),
	}
}

// ambiguous reports whether a map has names that differ only in case. Such names come in
// no defined order.
func ambiguous(req *authv3.CheckRequest) bool {
	seen := map[string]bool{}
	for name := range req.GetAttributes().GetRequest().GetHttp().GetHeaders() {
		name = strings.ToLower(name)
		if seen[name] {
			return true
		}
		seen[name] = true
	}
	return false
}

// requests are the requests for which both ways are compared, and from which fuzzing
// starts.
func requests(t testing.TB, texts map[string]string) map[string][]byte {
	t.Helper()
	all := oddRequests(texts["good"])
	for name, key := range texts {
		all["key "+name] = marshalled(t, gatewayRequest("/orders/42?expand=items", "x-api-key", key))
	}
	for name, req := range map[string]*authv3.CheckRequest{
		"bearer":          gatewayRequest("/users/7", "authorization", "Bearer "+texts["good"]),
		"query":           gatewayRequest("/orders?a=1&api_key=" + texts["good"] + "&b=2"),
		"cookie":          gatewayRequest("/orders", "cookie", "a=1; key="+texts["good"]+"; b=2"),
		"two credentials": gatewayRequest("/orders", "x-api-key", texts["good"], "authorization", "Bearer "+texts["good"]),
		"missing":         gatewayRequest("/orders"),
		"malformed":       gatewayRequest("/orders", "x-api-key", "ak_live_123"),
		"unknown":         gatewayRequest("/orders", "x-api-key", "ak_live_AAAAAAAA_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA0aaaaa"),
		"anonymous":       gatewayRequest("/public/x", "x-auth-user-id", "root", "x_auth_admin", "1", "x-auth-Zz", "2"),
		"path":            gatewayRequest("/a/../b", "x-api-key", texts["good"]),
		"grpc denied":     gatewayRequest("/orders", "content-type", "application/grpc"),
		"preflight":       gatewayRequest("/orders", "origin", "https://a", "access-control-request-method", "PUT"),
		"long request id": gatewayRequest("/orders", "x-request-id", strings.Repeat(`"\<`, 5000)),
		"a foreign token": gatewayRequest("/orders", "x-api-key", texts["good"], "authorization", "Bearer eyJhbGciOi.x.y"),
		"keys everywhere": gatewayRequest("/orders?a="+texts["good"]+"&b=1&%61k_live_=2", "x-api-key", texts["good"], "authorization", "Token "+texts["good"],
			"referer", "https://a/?"+texts["good"], "cookie", "a=1; b="+texts["good"]+"; c=3", "x-debug", texts["unknown"]),
		"a key in the path": gatewayRequest("/orders/"+texts["good"], "x-api-key", texts["good"]),
		"identity headers":  gatewayRequest("/orders", "x-api-key", texts["good"], "x-auth-admin", "1", "x-auth-key-id", "2"),
		"other spellings":   gatewayRequest("/orders", "x-api-key", texts["good"], "X.Auth!User", "1", "x_http.method|override", "DELETE", "script_name", "/x", "x-forwarded-for", "1.2.3.4"),
		"unremovable":       gatewayRequest("/public/x", "x\u00a0auth\u00a0user", "1", "content-type", "application/grpc"),
		"unremovable too":   gatewayRequest("/orders", "x-api-key", texts["good"], "\u017fcript name", "1"),
	} {
		all[name] = marshalled(t, req)
	}
	for _, file := range []string{"testdata/envoy-gateway-1.9.1.json", "testdata/istiod-2026-08.json"} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var req authv3.CheckRequest
		if err := protojson.Unmarshal(text, &req); err != nil {
			t.Fatal(err)
		}
		all[file] = marshalled(t, &req)
	}
	return all
}
