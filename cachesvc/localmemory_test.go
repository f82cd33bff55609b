package cachesvc

import (
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"extauthz/authz"
	"extauthz/cachesvc/internal/cachetest"
)

// warmed returns a service with all keys of a population in L1 and in its filter.
func warmed(t testing.TB, p cachetest.Population, limit int) *Service {
	t.Helper()
	s := start(t, Config{Database: p, Members: p, MostUsed: p, MaxKeys: limit, Warm: WarmConfig{PerSecond: 1 << 30}})
	if _, err := s.Warm(t.Context(), p.N); err != nil {
		t.Fatal(err)
	}
	for s.Status().Members < 0 {
		time.Sleep(time.Millisecond)
	}
	return s
}

func resident(t testing.TB) int {
	status, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Skip("no /proc here")
	}
	pages, err := strconv.Atoi(strings.Fields(string(status))[1])
	if err != nil {
		t.Fatal(err)
	}
	return pages * os.Getpagesize()
}

// BenchmarkMemory measures what a million keys cost: the memory of L1 and the filter for
// each key, and the work of a garbage collection. Each figure needs a process of its own:
// go test -run '^$' -bench 'Memory/keys=1000000$/reference' -benchtime 1x ./cachesvc
func BenchmarkMemory(b *testing.B) {
	for _, n := range []int{100_000, 1_000_000} {
		for _, kind := range []cachetest.KeyKind{cachetest.KindReference, cachetest.KindOwnScopes, cachetest.KindLarge} {
			b.Run(fmt.Sprintf("keys=%d/%s", n, kind), func(b *testing.B) {
				for b.Loop() {
					measureMemory(b, cachetest.Population{Connection: cachetest.NewDatabase().Connect(), N: n, Kind: kind})
				}
			})
		}
	}
}

func measureMemory(b *testing.B, p cachetest.Population) {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	s := warmed(b, p, p.N)
	for range 3 { // until as many values are hot as may be
		for i := range p.N / 10 {
			if _, err := s.Lookup(b.Context(), p.Prefix(i*10), nil); err != nil {
				b.Fatal(err)
			}
		}
	}
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&after)
	b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/float64(s.keys.present.Len()), "B/key")
	b.ReportMetric(float64(resident(b))/(1<<20), "MiB-resident")
	cpu, pauses := processorTime(b), after.PauseTotalNs
	const collections = 5
	for range collections {
		runtime.GC()
	}
	b.ReportMetric(float64(processorTime(b)-cpu)/collections/1e6, "gc-cpu-ms")
	runtime.ReadMemStats(&after)
	b.ReportMetric(float64(after.PauseTotalNs-pauses)/collections/1000, "gc-pause-us")
	b.ReportMetric(float64(s.keys.present.Len()), "entries")
}

// BenchmarkLookup measures the processor time of a look-up in a million keys, of which a
// given number are in use, at random.
func BenchmarkLookup(b *testing.B) {
	p := cachetest.Population{Connection: cachetest.NewDatabase().Connect(), N: 1_000_000, Kind: cachetest.KindReference}
	prefixes := make([]string, 100_000)
	for i := range prefixes {
		prefixes[i] = p.Prefix(i * 10)
	}
	s := warmed(b, p, 0)
	for _, used := range []int{1, 1000, 10_000, 100_000} {
		b.Run(fmt.Sprint("used=", used), func(b *testing.B) {
			r := rand.New(rand.NewPCG(1, 2))
			for range 2 {
				for i := range used {
					if _, err := s.Lookup(b.Context(), prefixes[i], nil); err != nil {
						b.Fatal(err)
					}
				}
			}
			var scratch authz.Scratch
			b.ReportAllocs()
			began := processorTime(b)
			for b.Loop() {
				if e, err := s.Lookup(b.Context(), prefixes[r.IntN(used)], &scratch); err != nil || e.Record == nil {
					b.Fatal(e, err)
				}
			}
			b.ReportMetric(float64(processorTime(b)-began)/float64(b.N), "cpu-ns/op")
		})
	}
}

// processorTime returns the processor time that this process has used.
func processorTime(t testing.TB) time.Duration {
	t.Helper()
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		t.Fatal(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

func TestLookup_NoHitAllocatesWithAScratch(t *testing.T) {
	for _, kind := range []cachetest.KeyKind{cachetest.KindReference, cachetest.KindOwnScopes, cachetest.KindLarge} {
		p := cachetest.Population{Connection: cachetest.NewDatabase().Connect(), N: 100_000, Kind: kind}
		s := warmed(t, p, 0)
		var scratch *authz.Scratch
		lookup := func(i int) {
			if e, err := s.Lookup(t.Context(), prefixOf[i], scratch); err != nil || e.Record == nil || e.Record.Prefix != prefixOf[i] {
				t.Fatal(e, err)
			}
		}
		for i := range prefixOf {
			prefixOf[i] = p.Prefix(i)
		}
		for range 3 { // until as many values are hot as may be
			for i := range 20_000 {
				lookup(i)
			}
		}
		next := 50_000
		if n := testing.AllocsPerRun(5000, func() { lookup(next); next++ }); kind == cachetest.KindReference && n > 1 {
			t.Errorf("%s: a cold look-up without a scratch allocates %v times", kind, n)
		}
		scratch = &authz.Scratch{}
		lookup(next)
		next = 0
		if n := testing.AllocsPerRun(10_000, func() { lookup(next); next++ }); n != 0 {
			t.Errorf("%s: a look-up of a key that others use as well allocates %v times", kind, n)
		}
		next = 56_000
		if n := testing.AllocsPerRun(10_000, func() { lookup(next); next++ }); n != 0 {
			t.Errorf("%s: a cold look-up allocates %v times", kind, n)
		}
	}
}

// prefixOf holds the prefixes, so that making them is not measured.
var prefixOf [70_000]string
