package server

import (
	"context"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync/atomic"
	"time"
)

const (
	collectionsEvery = time.Second
	usualPercent     = 100 // the runtime's default: a heap may double before it is collected
	maxPercent       = 400 // for a heap that is nearly empty, and may be full within a second
	// minGrowth is the least allocation between two collections. A small heap that may
	// only double would be collected a hundred times a second under load. A collection
	// takes 20 ms of processor time with a million keys: see docs/cache.md.
	minGrowth = 48 << 20
	// minCrowdedGrowth is minGrowth while clients hold much memory, which is seldom
	// garbage.
	minCrowdedGrowth = 16 << 20
	minStep          = 5 // percent; smaller changes are not worth stopping all goroutines
)

// paceCollections lets the heap grow only in proportion to memory that can become
// garbage. The cache's tables can't: if they counted, the heap could grow by their size
// again, and the process would take twice the memory. If the environment sets GOGC, only
// that counts. With GOMEMLIMIT the runtime collects before that limit is reached,
// whatever the pace.
//
// A percentage alone is not enough: a small heap that a flood suddenly makes large could
// grow to five times its new size. Therefore the runtime's memory limit moves as well. It
// is always the present memory plus the growth, and never more than GOMEMLIMIT.
func (s *Server) paceCollections(ctx context.Context) {
	if os.Getenv("GOGC") != "" {
		return
	}
	most := debug.SetMemoryLimit(-1)
	defer debug.SetMemoryLimit(most)
	set, limit, tick := usualPercent, most, time.NewTicker(collectionsEvery)
	defer tick.Stop()
	defer debug.SetGCPercent(debug.SetGCPercent(set))
	collected := make(chan struct{}, 1)
	defer afterCollections(collected)()
	for {
		live, beside := memory()
		grows := growth(live, uint64(s.cache.LocalBytes()), uint64(s.inbound.held()))
		percent := growthPercent(live, grows)
		if percent-set >= minStep || set-percent >= minStep {
			debug.SetGCPercent(percent)
			set = percent
		}
		next := min(int64(live+beside+grows), most)
		if next-limit >= limit/100*minStep || limit-next >= limit/100*minStep {
			debug.SetMemoryLimit(next)
			limit = next
		}
		select {
		case <-ctx.Done():
			return
		case <-collected:
		case <-tick.C: // the tables also grow between collections
		}
	}
}

// memory returns, in bytes, the part of the heap that survived the last collection, and
// the memory outside the heap: stacks, the runtime's own memory, and unusable parts of
// the heap's blocks.
func memory() (live, beside uint64) {
	samples := []metrics.Sample{{Name: "/gc/heap/live:bytes"}, {Name: "/memory/classes/total:bytes"},
		{Name: "/memory/classes/heap/objects:bytes"}, {Name: "/memory/classes/heap/free:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	metrics.Read(samples)
	beside = samples[1].Value.Uint64()
	for _, heap := range samples[2:] {
		beside -= min(heap.Value.Uint64(), beside)
	}
	return samples[0].Value.Uint64(), beside
}

// afterCollections sends to collected after each collection until stop is called. A heap
// that has suddenly doubled must not go on growing by the percentage for the small one.
func afterCollections(collected chan<- struct{}) (stop func()) {
	var stopped atomic.Bool
	var watch func()
	watch = func() {
		runtime.AddCleanup(new([64]byte), func(struct{}) {
			if stopped.Load() {
				return
			}
			select {
			case collected <- struct{}{}:
			default:
			}
			watch()
		}, struct{}{})
	}
	watch()
	return func() { stopped.Store(true) }
}

// growth returns by how many bytes a heap may grow, if it contains tables of the given
// size and bytes that the listeners' clients hold.
func growth(live, tables, held uint64) uint64 {
	least := max(minGrowth-min(held, minGrowth), minCrowdedGrowth)
	return max(live-min(tables+held, live), least)
}

// growthPercent returns the growth as a percentage of the heap.
func growthPercent(live, grows uint64) int {
	if grows >= live/100*maxPercent {
		return maxPercent
	}
	return int(grows * 100 / live)
}
