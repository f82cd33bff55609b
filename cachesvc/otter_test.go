package cachesvc

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"

	"github.com/maypok86/otter/v2"

	"extauthz/authz"
)

// library is otter behind the interface of L1.
type library[T any] struct {
	cache *otter.Cache[string, *value[T]]
}

var _ local[authz.Role] = library[authz.Role]{}

func newLibrary[T any](limit int) library[T] {
	return library[T]{otter.Must(&otter.Options[string, *value[T]]{MaximumSize: limit})}
}

func (l library[T]) get(id string) *value[T] {
	v, _ := l.cache.GetIfPresent(id)
	return v
}
func (l library[T]) put(id string, v *value[T]) { l.cache.Set(id, v) }
func (l library[T]) drop(id string) bool {
	_, there := l.cache.Invalidate(id)
	return there
}
func (l library[T]) dropWhere(match func(*value[T]) bool) (dropped int) {
	for id, v := range l.cache.All() {
		if match(v) && l.drop(id) {
			dropped++
		}
	}
	return dropped
}
func (l library[T]) claim(_ string, v *value[T]) bool {
	return v.refreshing.CompareAndSwap(false, true)
}
func (l library[T]) len() int { return l.cache.EstimatedSize() }

func locals(limit int) map[string]func() local[credential] {
	return map[string]func() local[credential]{
		"otter": func() local[credential] { return newLibrary[credential](limit) },
		"table": func() local[credential] { return newTable(limit, hotValues, newKeyCodec()) },
	}
}

func fill(l local[credential], p population, n int) {
	for i := range n {
		r, v := p.key(i)
		e := &value[credential]{data: credential{r, v}}
		e.found, e.version = true, r.Version
		l.put(p.prefix(i), e)
	}
}

func BenchmarkLocals(b *testing.B) {
	p := population{newDatabase().connect(), 1_000_000, false}
	prefixes := make([]string, 100_000)
	for i := range prefixes {
		prefixes[i] = p.prefix(i * 10)
	}
	for _, name := range []string{"otter", "table"} {
		b.Run(name, func(b *testing.B) {
			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			l := locals(1_000_000)[name]()
			began := processorTime(b)
			fill(l, p, 1_000_000)
			filled := processorTime(b) - began
			for range 2 {
				for _, prefix := range prefixes {
					l.get(prefix)
				}
			}
			runtime.GC()
			runtime.GC()
			runtime.ReadMemStats(&after)
			perKey := float64(after.HeapAlloc-before.HeapAlloc) / 1e6
			pauses, began := after.PauseTotalNs, processorTime(b)
			for range 5 {
				runtime.GC()
			}
			collection := processorTime(b) - began
			runtime.ReadMemStats(&after)
			for _, used := range []int{1000, 10_000, 100_000} {
				b.Run(fmt.Sprint("used=", used), func(b *testing.B) {
					for i := range 3 * used {
						l.get(prefixes[i%used])
					}
					b.ReportAllocs()
					r, began := rand.New(rand.NewPCG(1, 2)), processorTime(b)
					for b.Loop() {
						l.get(prefixes[r.IntN(used)])
					}
					b.ReportMetric(float64(processorTime(b)-began)/float64(b.N), "cpu-ns/op")
					b.ReportMetric(perKey, "B/key")
					b.ReportMetric(float64(collection)/5e6, "gc-cpu-ms")
					b.ReportMetric(float64(after.PauseTotalNs-pauses)/5e3, "gc-pause-us")
					b.ReportMetric(float64(filled)/1e6, "fill-cpu-ns/key")
				})
			}
			runtime.KeepAlive(l)
		})
	}
}

// BenchmarkHitRates counts the misses of a hot set among a scan, and of a Zipf
// distribution over ten times as many keys as there is room for.
func BenchmarkHitRates(b *testing.B) {
	const limit = 10_000
	p := population{newDatabase().connect(), 2_000_000, false}
	for _, name := range []string{"otter", "table"} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				l := locals(limit)[name]()
				e := keyValue(rand.New(rand.NewPCG(1, 1)), "")
				e.found = true
				use := func(i int) bool {
					if id := p.prefix(i); l.get(id) == nil {
						l.put(id, e)
						return false
					}
					return true
				}
				r, misses := rand.New(rand.NewPCG(1, 2)), 0
				fill(l, p, limit)
				for range 50_000 {
					use(r.IntN(limit / 2))
				}
				for i := range 1_000_000 {
					use(limit + i)
					if i%10 == 0 && !use(r.IntN(limit/2)) {
						misses++
					}
				}
				b.ReportMetric(float64(misses)/1000, "%-missed-in-scan")
				zipf := rand.NewZipf(r, 1.01, 1, 10*limit)
				hits := 0
				for i := range 1_000_000 {
					if use(int(zipf.Uint64())) && i >= 500_000 {
						hits++
					}
				}
				b.ReportMetric(float64(hits)/5000, "%-zipf-hits")
			}
		})
	}
}
