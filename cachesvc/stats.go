package cachesvc

import (
	"context"
	"maps"
	"slices"
	"sync/atomic"
)

// Name spaces of entries: the label namespace, and parts of cache keys.
const (
	namespaceValidation = "validation"
	namespaceUnknown    = "unknown" // prefixes and roles that do not exist
	namespaceRole       = "role"
	namespaceUserList   = "user"
	namespaceScope      = "scope"
	namespaceUsage      = "usage"
	namespaceStats      = "stats"
)

// counts are the outcomes of one reader's look-ups.
type counts struct {
	localHit, localNegative, localMiss             atomic.Uint64
	databaseFound, databaseNegative, databaseError atomic.Uint64
}

func (c *counts) local(found bool) {
	if found {
		c.localHit.Add(1)
	} else {
		c.localNegative.Add(1)
	}
}

func (c *counts) database(found bool) {
	if found {
		c.databaseFound.Add(1)
	} else {
		c.databaseNegative.Add(1)
	}
}

// sharedCounts are the outcomes of look-ups in the shared store.
type sharedCounts struct {
	hits, misses, errors   atomic.Uint64 // of keys
	refused                atomic.Uint64 // values that are not what was sealed
	scopeHits, scopeMisses atomic.Uint64
}

// Stats are the cache's figures since the start.
type Stats struct {
	Layers  []LayerStats `json:"layers"`
	Entries []EntryCount `json:"entries"`
	HitRate float64      `json:"hit_rate"` // of all look-ups of keys and roles, the part that L1 answered; 0 with none
	// Replicas are the figures of all replicas, at their last look.
	Replicas []ReplicaStats `json:"replicas"`
}

// LayerStats counts the look-ups of one layer.
type LayerStats struct {
	Layer     string `json:"layer"`     // "local", "redis" or "database"
	Namespace string `json:"namespace"` // "validation", "role", "scope" or "user"
	Hits      uint64 `json:"hits"`      // answered, "there is none" included
	Misses    uint64 `json:"misses"`
	Errors    uint64 `json:"errors"`
}

// EntryCount is how many entries a layer holds of a name space.
type EntryCount struct {
	Layer     string `json:"layer"`
	Namespace string `json:"namespace"`
	Entries   int    `json:"entries"`
}

// Stats returns the figures of all layers and name spaces. Entries of the shared
// store are those that the last look of the monitors has counted.
func (s *Service) Stats() Stats {
	return Stats{Layers: s.layers(), Entries: s.entries(), HitRate: s.hitRate(), Replicas: []ReplicaStats{}}
}

func (s *Service) layers() (layers []LayerStats) {
	for _, r := range []struct {
		namespace string
		counts    *counts
	}{{namespaceValidation, &s.keys.counts}, {namespaceRole, &s.roles.counts}} {
		c := r.counts
		layers = append(layers,
			LayerStats{"local", r.namespace, c.localHit.Load() + c.localNegative.Load(), c.localMiss.Load(), 0},
			LayerStats{"database", r.namespace, c.databaseFound.Load() + c.databaseNegative.Load(), 0, c.databaseError.Load()})
	}
	lists := LayerStats{"local", namespaceUserList, s.listCounts.localHit.Load(), s.listCounts.localMiss.Load(), 0}
	if r := &s.sharedCounts; s.shared != nil {
		lists.Layer = "redis"
		layers = append(layers,
			LayerStats{"redis", namespaceValidation, r.hits.Load(), r.misses.Load(), r.errors.Load()},
			LayerStats{"redis", namespaceScope, r.scopeHits.Load(), r.scopeMisses.Load(), 0})
	}
	return append(layers, lists)
}

// localLookups returns the look-ups of keys and roles, and those that L1 answered.
func (s *Service) localLookups() (hits, asked uint64) {
	for _, c := range []*counts{&s.keys.counts, &s.roles.counts} {
		n := c.localHit.Load() + c.localNegative.Load()
		hits, asked = hits+n, asked+n+c.localMiss.Load()
	}
	return hits, asked
}

func (s *Service) hitRate() float64 {
	hits, asked := s.localLookups()
	if asked == 0 {
		return 0
	}
	return float64(hits) / float64(asked)
}

// LocalBytes is the memory that L1 takes up without a pointer in it: what a
// collection neither looks at nor frees.
func (s *Service) LocalBytes() int {
	return s.keys.present.Bytes() + s.keys.negative.Bytes() + s.roles.present.Bytes() + s.roles.negative.Bytes()
}

// entries counts the stored entries; -1 where a store did not answer.
func (s *Service) entries() []EntryCount {
	entries := []EntryCount{
		{"local", namespaceValidation, s.keys.present.Len()},
		{"local", namespaceRole, s.roles.present.Len()},
		{"local", namespaceUnknown, s.keys.negative.Len() + s.roles.negative.Len()},
	}
	if s.shared == nil {
		lists, err := s.lists.Count(context.Background(), userListKeys)
		if err != nil {
			lists = -1
		}
		return append(entries, EntryCount{"local", namespaceUserList, lists})
	}
	s.monitor.mu.Lock()
	defer s.monitor.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(s.monitor.counts)) {
		entries = append(entries, EntryCount{"redis", name, s.monitor.counts[name]})
	}
	return entries
}
