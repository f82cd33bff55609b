package main

import (
	"bufio"
	"bytes"
	"os/exec"
	"strings"
)

// ownBenchmarks are those of the work that is ours in a check, without transport.
var ownBenchmarks = []struct{ pkg, pattern string }{
	{"extauthz/envoy", "^BenchmarkDecision"},
	{"extauthz/authz", "^(BenchmarkAuthorize|BenchmarkMatchTenThousandRules)$"},
	{"extauthz/cachesvc", "^BenchmarkHit$"},
}

// own runs them.
func (s *site) own() {
	table := newTable("Our own work in a check, by `go test -bench`", "benchmark", "ns", "bytes", "allocations")
	for _, b := range ownBenchmarks {
		out, err := exec.CommandContext(s.ctx, "go", "test", "-run", "^$", "-bench", b.pattern, "-benchmem", b.pkg).CombinedOutput()
		if err != nil {
			s.Fatalf("go test -bench in %s: %v\n%s", b.pkg, err, out)
		}
		for lines := bufio.NewScanner(bytes.NewReader(out)); lines.Scan(); {
			// BenchmarkX/y-2  1000  123 ns/op  0 B/op  0 allocs/op
			if f := strings.Fields(lines.Text()); len(f) == 8 && strings.HasPrefix(f[0], "Benchmark") {
				name := strings.TrimPrefix(f[0], "Benchmark")
				if i := strings.LastIndexByte(name, '-'); i > 0 {
					name = name[:i]
				}
				table.add(strings.TrimPrefix(b.pkg, "extauthz/")+" "+name, f[2], f[4], f[6])
			}
		}
	}
	s.report(table)
}
