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
	usualPercent     = 100 // the runtime's own: a heap may double before it is collected
	maxPercent       = 400 // of a heap that is nearly empty and may be full in a second
	// minGrowth is the least allocation between two collections: a small heap
	// that may only double is collected a hundred times a second under load. A
	// collection takes 20 ms of processor time with a million keys: see
	// docs/cache.md.
	minGrowth = 48 << 20
	// minCrowdedGrowth is it while clients hold much: these are seldom garbage.
	minCrowdedGrowth = 16 << 20
	minStep          = 5 // percent: smaller changes are not worth stopping everything
)

// paceCollections lets the heap grow by what can become garbage: the cache's
// tables, which can't, would let it grow by as much again and double the
// process. Where the environment sets GOGC, that alone counts; with GOMEMLIMIT the
// runtime collects before it is reached, whatever the pace.
//
// A percentage alone would let a small heap that a flood has made large in a moment
// grow to five times that. So the runtime's limit of memory is moved along too: it is
// always what there is and the growth, and never over GOMEMLIMIT.
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
		case <-tick.C: // the tables grow between collections too
		}
	}
}

// memory is what the last collection left of the heap, and the memory outside of it, in
// bytes: stacks, the runtime's own, and what can't be used of the heap's blocks.
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

// afterCollections sends after each collection, until stop: a heap that has doubled in a
// moment may not grow on by the percentage that the small one had.
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

// growth is by how many bytes a heap may grow of which so many are tables, and so
// many are held by the listeners' clients.
func growth(live, tables, held uint64) uint64 {
	least := max(minGrowth-min(held, minGrowth), minCrowdedGrowth)
	return max(live-min(tables+held, live), least)
}

// growthPercent is it as a percentage of the heap.
func growthPercent(live, grows uint64) int {
	if grows >= live/100*maxPercent {
		return maxPercent
	}
	return int(grows * 100 / live)
}
