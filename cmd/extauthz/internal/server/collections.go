package server

import (
	"context"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	collectionsEvery = time.Second
	usualPercent     = 100 // the runtime's own: a heap may double before it is collected
	mostPercent      = 400 // of a heap that is nearly empty and may be full in a second
	// leastGrowth is what is allocated at least between two collections: a small
	// heap that may only double is collected a hundred times a second under load. A
	// collection takes 20 ms of processor time with a million keys: see
	// docs/cache.md.
	leastGrowth = 48 << 20
	leastStep   = 5 // percent: smaller changes are not worth stopping everything
)

// paceCollections lets the heap grow by what can become garbage: the cache's
// tables, which can't, would let it grow by as much again and double the
// process. Where the environment sets GOGC, that alone counts; with GOMEMLIMIT the
// runtime collects before it is reached, whatever the pace.
func (s *Server) paceCollections(ctx context.Context) error {
	if os.Getenv("GOGC") != "" {
		return nil
	}
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	set, tick := usualPercent, time.NewTicker(collectionsEvery)
	defer tick.Stop()
	defer debug.SetGCPercent(debug.SetGCPercent(set))
	for {
		metrics.Read(live)
		percent := growthPercent(live[0].Value.Uint64(), uint64(s.cache.LocalBytes()))
		if percent-set >= leastStep || set-percent >= leastStep {
			debug.SetGCPercent(percent)
			set = percent
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// growthPercent is by how much a heap may grow of which so much is tables.
func growthPercent(live, tables uint64) int {
	grows := max(live-min(tables, live), leastGrowth)
	if grows >= live/100*mostPercent {
		return mostPercent
	}
	return int(grows * 100 / live)
}
