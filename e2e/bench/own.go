package main

import (
	"os/exec"
	"strconv"
	"strings"
)

// ownBenchmarks measure this service's own work in a check, without transport.
var ownBenchmarks = []struct{ pkg, pattern string }{
	{"extauthz/envoy", "^BenchmarkDecision"},
	{"extauthz/authz", "^(BenchmarkAuthorize|BenchmarkMatchTenThousandRules)$"},
	{"extauthz/cachesvc", "^BenchmarkHit$"},
}

// ownRepeats is how often each benchmark is run. The fastest run counts, since other
// programs on the machine can only slow it down.
const ownRepeats = 3

// own runs these benchmarks.
func (s *environment) own() {
	table := newTable("Our own work in a check, by `go test -bench`", "benchmark", "ns", "bytes", "allocations")
	for _, b := range ownBenchmarks {
		out, err := exec.CommandContext(s.ctx, "go", "test", "-run", "^$", "-bench", b.pattern, "-benchmem", "-benchtime", "0.5s", "-count", strconv.Itoa(ownRepeats), b.pkg).CombinedOutput()
		if err != nil {
			s.Fatalf("go test -bench in %s: %v\n%s", b.pkg, err, out)
		}
		for _, cells := range fastest(string(out)) {
			table.add(append([]string{strings.TrimPrefix(b.pkg, "extauthz/") + " " + cells[0]}, cells[1:]...)...)
		}
	}
	s.report(table)
}

// fastest parses the output of benchmarks. It returns name, ns, bytes and allocations of
// the fastest run of each, in the order of the output.
func fastest(output string) (all [][]string) {
	place := map[string]int{}
	for line := range strings.Lines(output) {
		f := strings.Fields(line) // BenchmarkX/y-2  1000  123 ns/op  0 B/op  0 allocs/op
		if len(f) != 8 || !strings.HasPrefix(f[0], "Benchmark") {
			continue
		}
		name := strings.TrimPrefix(f[0], "Benchmark")
		if i := strings.LastIndexByte(name, '-'); i > 0 {
			name = name[:i]
		}
		cells := []string{name, f[2], f[4], f[6]}
		i, seen := place[name]
		if !seen {
			place[name] = len(all)
			all = append(all, cells)
			continue
		}
		now, _ := strconv.ParseFloat(f[2], 64)
		if before, _ := strconv.ParseFloat(all[i][1], 64); now < before {
			all[i] = cells
		}
	}
	return all
}
