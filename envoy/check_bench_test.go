package envoy

import (
	"strconv"
	"strings"
	"testing"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc/mem"
)

// BenchmarkDecision measures this service's own work in a check, without the look-up,
// from the request's bytes to the answer's bytes.
func BenchmarkDecision(b *testing.B) {
	a, texts := decider(b)
	s := deciding(b, EncoderConfig{}, a)
	for name, req := range benched(texts) {
		data := marshalled(b, req)
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				ask(b, s, data)
			}
		})
	}
}

func benched(texts map[string]string) map[string]*authv3.CheckRequest {
	key := texts["good"]
	return map[string]*authv3.CheckRequest{
		"allowed":   gatewayRequest("/orders/42?expand=items", "x-api-key", key),
		"bearer":    gatewayRequest("/orders/42?expand=items", "authorization", "Bearer "+key),
		"captured":  gatewayRequest("/users/7", "x-api-key", key),
		"network":   gatewayRequest("/orders/42", "x-api-key", texts["network"]),
		"anonymous": gatewayRequest("/public/x", "x-auth-user-id", "root"),
		"missing":   gatewayRequest("/orders/42"),
		"malformed": gatewayRequest("/orders/42", "x-api-key", "ak_live_123"),
		"checksum":  gatewayRequest("/orders/42", "x-api-key", key[:len(key)-1]+"!"),
		"unknown":   gatewayRequest("/orders/42", "x-api-key", texts["unknown"]),
		"wrong":     gatewayRequest("/orders/42", "x-api-key", texts["wrong"]),
		"scope":     gatewayRequest("/orders/42", "x-api-key", texts["narrow"]),
		"revoked":   gatewayRequest("/orders/42", "x-api-key", texts["revoked"]),
		"path":      gatewayRequest("/a/../b", "x-api-key", key),
		"foreign":   gatewayRequest("/orders/42?expand=items", "x-api-key", key, "authorization", "Bearer "+strings.Repeat("eyJhbGciOiJIUzI1NiJ9", 40)),
		"stray":     gatewayRequest("/orders/42?expand=items", "x-api-key", key, "authorization", "Token "+key, "x-debug", key),
		"large":     largeRequest(key),
	}
}

// largeRequest has 30 headers and 4 KiB of cookies. Decisions depend on none of them.
func largeRequest(key string) *authv3.CheckRequest {
	headers := []string{"x-api-key", key, "cookie", strings.Repeat("session=c2Vzc2lvbi10b2tlbi0xMjM; ", 128)}
	for i := range 20 {
		headers = append(headers, "x-header-"+strconv.Itoa(i), strings.Repeat("value ", 16))
	}
	return gatewayRequest("/orders/42?expand=items", headers...)
}

func ask(t testing.TB, s *Service, data []byte) {
	c := takeCheck()
	buffer := answerBuffers.Get(answerSize)
	*buffer = append((*buffer)[:0], data...)
	c.data = mem.NewBuffer(buffer, answerBuffers)
	answer, err := s.checkWire(t.Context(), c)
	c.release()
	if err != nil {
		t.Fatal(err)
	}
	answer.Free()
}
