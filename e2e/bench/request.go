package main

import (
	"crypto/rand"
	"fmt"
	"hash/crc32"
	"strconv"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"extauthz/authz"
)

// The kinds of request, and the reason that the service gives each.
var kinds = map[string]string{
	"allow": "granted", "missing": "missing_key", "malformed": "malformed_key", "checksum": "malformed_key",
	"unknown": "unknown_key", "secret": "wrong_secret", "scope": "scope_missing",
}

// The forms in which Envoy sends headers.
const (
	headersMap = "map" // joined and sanitised, Envoy's default
	headersRaw = "raw" // unchanged, with encode_raw_headers, as `extauthz envoy bootstrap` sets it
)

const base62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// credential returns the credential of a request of a kind, made from a valid key.
func credential(kind, key string) (string, error) {
	switch kind {
	case "missing":
		return "", nil
	case "malformed":
		return "sk_" + key[len("ak_"):len(key)-4], nil
	case "checksum":
		return key[:len(key)-1] + otherDigit(key[len(key)-1]), nil
	case "unknown":
		format, err := authz.NewKeyFormat(authz.KeyFormatConfig{})
		if err != nil {
			return "", err
		}
		forged, _, err := format.Generate("live", rand.Reader)
		return forged.Reveal(), err
	case "secret": // the same prefix and a valid checksum
		body := key[:len(key)-7] + otherDigit(key[len(key)-7])
		sum := crc32.ChecksumIEEE([]byte(body))
		digits := make([]byte, 6)
		for i := range digits {
			digits[len(digits)-1-i] = base62[sum%62]
			sum /= 62
		}
		return body + string(digits), nil
	}
	return key, nil
}

func otherDigit(digit byte) string {
	if digit == 'a' {
		return "b"
	}
	return "a"
}

// requests returns encoded CheckRequests, one for each key.
func requests(keys []string, kind, form string) ([][]byte, error) {
	path := "/orders/42?expand=items"
	if kind == "scope" {
		path = "/payments/42"
	}
	all := make([][]byte, len(keys))
	for i, key := range keys {
		key, err := credential(kind, key)
		if err != nil {
			return nil, err
		}
		if all[i], err = request(key, path, form, i); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// request resembles what Envoy sends for a browser's call of an API.
func request(key, path, form string, i int) ([]byte, error) {
	headers := [][2]string{
		{":authority", "api.example.com"}, {":method", "GET"}, {":path", path}, {":scheme", "https"},
		{"accept", "application/json, text/plain, */*"}, {"accept-encoding", "gzip, deflate, br"}, {"accept-language", "en-US,en;q=0.9"},
		{"content-type", "application/json"}, {"referer", "https://app.example.com/orders"}, {"sec-fetch-mode", "cors"}, {"sec-fetch-site", "same-site"},
		{"user-agent", "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36"},
		{"x-envoy-internal", "true"}, {"x-forwarded-for", "203.0.113.7"}, {"x-forwarded-proto", "https"},
		{"x-request-id", fmt.Sprintf("4f6c0f0e-3c53-9f6d-8a3e-%012x", i)},
	}
	if key != "" {
		headers = append(headers, [2]string{"x-api-key", key})
	}
	http := &authv3.AttributeContext_HttpRequest{Id: strconv.Itoa(i), Method: "GET", Path: path, Host: "api.example.com", Scheme: "https", Protocol: "HTTP/1.1", Size: -1}
	switch form {
	case headersMap:
		http.Headers = map[string]string{}
		for _, h := range headers {
			http.Headers[h[0]] = h[1]
		}
	case headersRaw:
		http.HeaderMap = &corev3.HeaderMap{}
		for _, h := range headers {
			http.HeaderMap.Headers = append(http.HeaderMap.Headers, &corev3.HeaderValue{Key: h[0], RawValue: []byte(h[1])})
		}
	default:
		return nil, fmt.Errorf("no form %q of headers: write %s", form, strings.Join([]string{headersMap, headersRaw}, " or "))
	}
	peer := func(ip string, port uint32) *authv3.AttributeContext_Peer {
		return &authv3.AttributeContext_Peer{Address: &corev3.Address{Address: &corev3.Address_SocketAddress{
			SocketAddress: &corev3.SocketAddress{Address: ip, PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: port}}}}}
	}
	return proto.Marshal(&authv3.CheckRequest{Attributes: &authv3.AttributeContext{
		Source: peer("203.0.113.7", 51744), Destination: peer("10.0.0.12", 8443),
		Request:         &authv3.AttributeContext_Request{Time: timestamppb.Now(), Http: http},
		MetadataContext: &corev3.Metadata{}, RouteMetadataContext: &corev3.Metadata{},
	}})
}
