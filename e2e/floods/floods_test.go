package floods

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"extauthz/e2e/parts"
)

// flood is one way to take more than a client's share.
type flood struct {
	name  string
	quick bool // runs always; the others only in the full test
	tls   bool
	run   func(*field)
}

var floods = []flood{
	{name: "gRPC: 120,000 calls without a message", quick: true, run: func(f *field) {
		f.crowd(120, func() { f.calls(1000, nil, 0) })
	}},
	{name: "gRPC: calls without a message on many connections", run: func(f *field) {
		f.crowd(900, func() { f.calls(1000, nil, 0) })
	}},
	{name: "gRPC: messages of 63 MiB that are not complete", run: func(f *field) {
		f.crowd(12, func() { f.calls(1, message(64*mib-1, 63*mib), 16<<10) })
	}},
	{name: "gRPC: messages of 1 MiB that are not complete", quick: true, run: func(f *field) {
		f.crowd(40, func() { f.calls(100, message(mib-16, mib-32), 16<<10) })
	}},
	{name: "gRPC: messages in frames of one byte", run: func(f *field) {
		f.crowd(40, func() { f.calls(10, message(mib-16, 60_000), 1) })
	}},
	{name: "gRPC: messages in frames of 1,025 bytes", run: func(f *field) {
		f.crowd(40, func() { f.calls(100, message(mib-16, 60_000), 1025) })
	}},
	{name: "gRPC: whole messages of 33 KiB", run: func(f *field) {
		f.crowd(100, func() { f.whole(33<<10, 1000) })
	}},
	{name: "gRPC: whole checks, as many as can be", run: func(f *field) {
		f.crowd(300, func() { f.whole(0, 1000) })
	}},
	{name: "gRPC: answers that are not taken", run: func(f *field) {
		f.crowd(100, func() { f.notTaken(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0}) })
	}},
	{name: "gRPC: a connection that is not read", run: func(f *field) {
		f.crowd(200, func() { f.notRead(checkMethod) })
	}},
	{name: "gRPC: headers that grow by compression", run: func(f *field) {
		f.crowd(100, func() { f.bomb("x-bomb-bin", strings.Repeat("A", 3900), 30) })
	}},
	{name: "gRPC: many small headers", run: func(f *field) {
		f.crowd(100, func() { f.bomb("a", "", 3500) })
	}},
	{name: "gRPC: refusals that repeat what was sent", run: func(f *field) {
		f.crowd(200, func() { f.echoed() })
	}},
	{name: "gRPC: headers without an end", run: func(f *field) {
		f.crowd(500, func() { f.endless() })
	}},
	{name: "gRPC: calls that are reset at once", run: func(f *field) {
		f.crowd(20, f.resets)
	}},
	{name: "gRPC: pings and settings", run: func(f *field) {
		f.crowd(100, f.pings)
	}},
	{name: "gRPC: 10,000 connections that say nothing", run: func(f *field) { f.silent(f.GRPC, 10_000, "") }},
	{name: "gRPC: 10,000 idle connections", run: func(f *field) {
		f.crowd(10_000, func() {
			if p := f.speak(); p != nil {
				f.untilClosed(p)
			}
		})
	}},
	{name: "gRPC: a byte a second", run: func(f *field) { f.slow(f.GRPC, http2.ClientPreface) }},
	{name: "gRPC: handshakes that are not complete", tls: true, run: func(f *field) { f.silent(f.GRPC, 3000, "\x16\x03\x01\x02\x00\x01") }},
	{name: "gRPC: handshakes without a certificate", tls: true, run: func(f *field) {
		f.crowd(50, f.handshakes)
	}},
	{name: "gRPC: idle connections by TLS", tls: true, run: func(f *field) {
		f.crowd(1500, func() {
			if p := f.speak(); p != nil {
				f.untilClosed(p)
			}
		})
	}},
	{name: "http: headers that are not complete", quick: true, run: func(f *field) { f.silent(f.HTTP, 3000, head(60<<10)) }},
	{name: "http: many small headers", run: func(f *field) {
		f.silent(f.HTTP, 3000, "GET /check HTTP/1.1\r\nhost: x\r\n"+smallHeaders(100<<10))
	}},
	{name: "http: bodies that are not complete", run: func(f *field) {
		f.silent(f.HTTP, 3000, "POST /check HTTP/1.1\r\nhost: x\r\ncontent-length: 200000\r\n\r\n"+strings.Repeat("x", 190_000))
	}},
	{name: "http: a byte a second", run: func(f *field) { f.slow(f.HTTP, head(60<<10)) }},
	{name: "admin: headers that are not complete", run: func(f *field) { f.silent(f.Admin, 2000, head(60<<10)) }},
	{name: "ops: connections that say nothing", run: func(f *field) { f.silent(f.Ops, 10_000, "") }},
	{name: "ops: metrics that are not read", run: func(f *field) {
		f.silent(f.Ops, 300, strings.Repeat("GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n", 100))
	}},
}

// TestFloods_StayWithinMemoryAndStarveNoClient: under each flood the service stays within
// 2 × its idle memory and 64 MiB, while clients of each listener are answered.
func TestFloods_StayWithinMemoryAndStarveNoClient(t *testing.T) {
	if testing.Short() {
		t.Skip("floods a process of its own")
	}
	for _, fl := range floods {
		if fl.quick || full {
			t.Run(fl.name, func(t *testing.T) { newField(t, fl.tls).hold(t, fl) })
		}
	}
}

func newField(t *testing.T, secure bool) *field {
	f := &field{t: t}
	configuration := ""
	if secure {
		c := parts.NewCertificates(t)
		f.tls = &c
		configuration = fmt.Sprintf("grpc: {tls: {cert_file: %q, key_file: %q, client_ca_file: %q}}", c.CertFile, c.KeyFile, c.CAFile)
	}
	f.Service = parts.StartService(t, configuration)
	f.key = f.NewKey("--scope", "orders:read").Key
	return f
}

// hold runs a flood and measures.
func (f *field) hold(t *testing.T, fl flood) {
	idle := f.idle()
	most := 2*idle + 64*mib
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	f.ctx = ctx
	clients := f.startClients()
	began := time.Now()
	flooding := make(chan struct{})
	go func() { defer close(flooding); fl.run(f) }()
	peak := idle
	for over := false; !over; {
		select {
		case <-flooding:
			over = true
		case <-time.After(10 * time.Millisecond):
		}
		peak = max(peak, f.rss())
		if took := time.Since(began); took > floodTime && clients.allAsked() || took > 4*patience {
			cancel()
		}
	}
	clients.stop()
	t.Logf("MEASURED|%s|idle %.0f|peak %.0f|bound %.0f MiB|%d connections, %d closed by the service", fl.name, float64(idle)/mib, float64(peak)/mib, float64(most)/mib, f.attempts.Load(), f.refused.Load())
	if peak > most {
		t.Errorf("%.0f MiB at the most, want %.0f", float64(peak)/mib, float64(most)/mib)
	}
	flooded, _, _ := strings.Cut(fl.name, ":")
	clients.answered(flooded)
	after, stop := context.WithTimeout(t.Context(), 30*time.Second)
	defer stop()
	if err := parts.Eventually(after, func() error {
		c := f.dialGRPC()
		defer func() { _ = c.Close() }()
		return f.check(after, c)
	}); err != nil {
		t.Errorf("after the flood: %v", err)
	}
}
