package cachesvc

import (
	"context"
	"encoding/binary"
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
)

// population is a database of so many keys that holds none of them in memory.
type population struct {
	*connection
	n    int
	kind kind
}

// kind is of which keys a population is made.
type kind string

const (
	// kindReference: 36-byte user id, 20-byte name, 3 scopes of which there are a
	// hundred sets, no metadata.
	kindReference kind = "reference"
	kindOwnScopes kind = "own_scopes" // each key's scopes are its own
	kindLarge     kind = "large"      // 10 scopes, and metadata of 60 bytes
)

func (p population) prefix(i int) string { return fmt.Sprintf("ak_live_%08d", i) }

func (p population) key(i int) (authz.Record, authz.Verifier) {
	set, resources, metadata := i%100, []string{"invoices", "orders", "parcels"}, map[string]string(nil)
	switch p.kind {
	case kindOwnScopes:
		set = i
	case kindLarge:
		resources = []string{"accounts", "baskets", "coupons", "invoices", "labels", "orders", "parcels", "refunds", "stores", "users"}
		metadata = map[string]string{"team": fmt.Sprint("billing ", i), "ticket": fmt.Sprint("OPS-", i), "contact": "someone@example.com"}
	}
	scopes := authz.Scopes{}
	for _, s := range resources {
		scopes = append(scopes, authz.Scope{Resource: fmt.Sprintf("%s/%d", s, set), Actions: []string{strings.Clone("read")}})
	}
	var digest [32]byte
	binary.BigEndian.PutUint64(digest[:], uint64(i)*0x9e3779b97f4a7c15)
	made := time.Date(2026, 1, 2, 3, 4, 5, 678901000, time.UTC).Add(time.Duration(i) * time.Millisecond)
	return authz.Record{
		ID: fmt.Sprintf("01890a5d-ac96-774b-bcce-%012x", i), UserID: fmt.Sprintf("6ba7b810-9dad-41d1-80b4-%012x", i/3),
		Name: fmt.Sprintf("key number %09d", i), Prefix: p.prefix(i), Scopes: scopes, Active: true, Environment: strings.Clone("live"), Metadata: metadata,
		CreatedAt: made, UpdatedAt: made, Version: uint64(1000 + i),
	}, authz.Verifier{Alg: authz.HashHMACSHA256, PepperID: strings.Clone("0a1b2c3d"), Digest: authz.NewDigest(digest)}
}

func (p population) KeyByPrefix(_ context.Context, prefix string) (authz.Record, authz.Verifier, error) {
	i, err := strconv.Atoi(strings.TrimPrefix(prefix, "ak_live_"))
	if err != nil || i >= p.n {
		return authz.Record{}, authz.Verifier{}, authz.ErrNotFound
	}
	r, v := p.key(i)
	return r, v, nil
}

func (p population) MostUsed(_ context.Context, limit int, yield func(authz.Record, authz.Verifier) error) error {
	for i := range min(limit, p.n) {
		if err := yield(p.key(i)); err != nil {
			return err
		}
	}
	return nil
}

func (p population) Prefixes(_ context.Context, yield func(string) error) error {
	for i := range p.n {
		if err := yield(p.prefix(i)); err != nil {
			return err
		}
	}
	return nil
}

// warmed is a service with all of a population in L1 and in its filter.
func warmed(t testing.TB, p population, limit int) *Service {
	t.Helper()
	s := start(t, Config{Database: p, Members: p, MostUsed: p, MaxKeys: limit, Warm: WarmConfig{PerSecond: 1 << 30}})
	if _, err := s.Warm(t.Context(), p.n); err != nil {
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

// BenchmarkMemory tells what a million keys cost: memory a key, of L1 and the
// filter, and the work of a collection. Each figure needs a process of its own:
// go test -run '^$' -bench 'Memory/keys=1000000$/reference' -benchtime 1x ./cachesvc
func BenchmarkMemory(b *testing.B) {
	for _, n := range []int{100_000, 1_000_000} {
		for _, kind := range []kind{kindReference, kindOwnScopes, kindLarge} {
			b.Run(fmt.Sprintf("keys=%d/%s", n, kind), func(b *testing.B) {
				for b.Loop() {
					measureMemory(b, population{newDatabase().connect(), n, kind})
				}
			})
		}
	}
}

func measureMemory(b *testing.B, p population) {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	s := warmed(b, p, p.n)
	for range 3 { // as many as may be are kept as they were read
		for i := range p.n / 10 {
			if _, err := s.Lookup(b.Context(), p.prefix(i*10), nil); err != nil {
				b.Fatal(err)
			}
		}
	}
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&after)
	b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/float64(s.keys.present.len()), "B/key")
	b.ReportMetric(float64(resident(b))/(1<<20), "MiB-resident")
	cpu, pauses := processorTime(b), after.PauseTotalNs
	const collections = 5
	for range collections {
		runtime.GC()
	}
	b.ReportMetric(float64(processorTime(b)-cpu)/collections/1e6, "gc-cpu-ms")
	runtime.ReadMemStats(&after)
	b.ReportMetric(float64(after.PauseTotalNs-pauses)/collections/1000, "gc-pause-us")
	b.ReportMetric(float64(s.keys.present.len()), "entries")
}

// BenchmarkLookup tells the processor time of a look-up in a million keys, by
// how many of them are in use, at random.
func BenchmarkLookup(b *testing.B) {
	p := population{newDatabase().connect(), 1_000_000, kindReference}
	prefixes := make([]string, 100_000)
	for i := range prefixes {
		prefixes[i] = p.prefix(i * 10)
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

// processorTime is all that this process has used.
func processorTime(t testing.TB) time.Duration {
	t.Helper()
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		t.Fatal(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

func TestNoHitAllocatesWithAScratch(t *testing.T) {
	for _, kind := range []kind{kindReference, kindOwnScopes, kindLarge} {
		p := population{newDatabase().connect(), 100_000, kind}
		s := warmed(t, p, 0)
		var scratch *authz.Scratch
		lookup := func(i int) {
			if e, err := s.Lookup(t.Context(), prefixOf[i], scratch); err != nil || e.Record == nil || e.Record.Prefix != prefixOf[i] {
				t.Fatal(e, err)
			}
		}
		for i := range prefixOf {
			prefixOf[i] = p.prefix(i)
		}
		for range 3 { // all that may be hot is
			for i := range 20_000 {
				lookup(i)
			}
		}
		next := 50_000
		if n := testing.AllocsPerRun(5000, func() { lookup(next); next++ }); kind == kindReference && n > 1 {
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

// prefixOf keeps the making of prefixes out of what is measured.
var prefixOf [70_000]string

func TestAKeyTakesLessThanTwoHundredBytes(t *testing.T) {
	const n = 20_000
	p := population{newDatabase().connect(), n, kindReference}
	s := warmed(t, p, n)
	var held, records int
	for i := range s.keys.present.(*table[credential]).shards {
		sh := &s.keys.present.(*table[credential]).shards[i]
		held += sh.arena.live + 8*len(sh.index.slots)
		records += sh.index.count
	}
	if each := held / records; each > 170 {
		t.Errorf("a key takes %d bytes in the table", each)
	}
}
