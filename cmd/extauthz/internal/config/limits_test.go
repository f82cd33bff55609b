package config

import (
	"strings"
	"testing"
)

// TestLoad_LimitsThatContradictEachOtherAreRefused: the error names the setting and the
// remedy.
func TestLoad_LimitsThatContradictEachOtherAreRefused(t *testing.T) {
	for text, want := range map[string]string{
		"grpc: {max_connections: 0}":                                  "grpc.max_connections: 0 is too small",
		"grpc: {max_streams: 0}":                                      "grpc.max_streams: 0 is too small",
		"grpc: {max_message_bytes: 1024}":                             "grpc.max_message_bytes: 1024 is too small",
		"grpc: {request_timeout: 10ms}":                               "grpc.request_timeout: 10ms is too small",
		"grpc: {max_message_bytes: 16777217}":                         "grpc.max_message_bytes: 16777217 is more than half of grpc.max_pending_mib (32 MiB)",
		"grpc: {max_pending_mib: 4, max_message_bytes: 3000000}":      "raise grpc.max_pending_mib, or lower this",
		"http: {max_header_bytes: 1048576}":                           "http.max_header_bytes: 1048576 takes up to 32 times as much memory",
		"grpc: {max_message_bytes: 16777216}":                         "",
		"grpc: {max_message_bytes: 67108864, max_pending_mib: 128}":   "",
		"http: {max_header_bytes: 1048576, max_pending_mib: 64}":      "",
		"admin: {max_connections: 1}\nops: {max_connections: 100000}": "",
	} {
		if want == "" {
			load(t, text)
		} else if got := strings.Join(problems(t, text), "\n"); !strings.Contains(got, want) {
			t.Errorf("%s: got %q, want %q", text, got, want)
		}
	}
}
