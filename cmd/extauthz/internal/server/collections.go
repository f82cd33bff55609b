package server

import (
	"context"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	collectionsEvery = 5 * time.Second
	usualPercent     = 100 // the runtime's own: a heap may double before it is collected
	// leastGrowth is what is allocated at least between two collections where
	// that is less than double. One takes 20 ms of processor time with a million
	// keys: see docs/cache.md.
	leastGrowth = 48 << 20
	leastStep   = 5 // percent: smaller changes are not worth stopping everything
)

// paceCollections lets the heap grow by what can become garbage: the cache's
// tables, which can't, would let it grow by as much again and double the
// process. Where the environment sets GOGC or GOMEMLIMIT, that alone counts.
func (s *Server) paceCollections(ctx context.Context) error {
	if os.Getenv("GOGC") != "" || os.Getenv("GOMEMLIMIT") != "" {
		return nil
	}
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	set, tick := usualPercent, time.NewTicker(collectionsEvery)
	defer tick.Stop()
	defer debug.SetGCPercent(debug.SetGCPercent(set))
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		metrics.Read(live)
		percent := growthPercent(live[0].Value.Uint64(), uint64(s.cache.LocalBytes()))
		if percent-set >= leastStep || set-percent >= leastStep {
			debug.SetGCPercent(percent)
			set = percent
		}
	}
}

// growthPercent is by how much a heap may grow of which so much is tables.
func growthPercent(live, tables uint64) int {
	grows := max(live-min(tables, live), leastGrowth)
	if grows >= live {
		return usualPercent
	}
	return int(grows * 100 / live)
}
