package cachesvc

import (
	"context"
	"maps"
	"slices"
	"sync/atomic"
)

// Name spaces of entries. They are the values of the label namespace, and occur in the
// keys of the shared store.
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
	hits, misses, errors   atomic.Uint64 // look-ups of keys
	refused                atomic.Uint64 // values whose seal does not open
	scopeHits, scopeMisses atomic.Uint64
}

// Stats are the cache's figures since the start.
type Stats struct {
	Layers  []LayerStats `json:"layers"`
	Entries []EntryCount `json:"entries"`
	HitRate float64      `json:"hit_rate"` // share of the look-ups of keys and roles that L1 answered; 0 with none
	// Replicas holds the figures of all replicas, each as of its monitors' last run.
	// [Service.Stats] leaves it empty; [Service.Replicas] reads them.
	Replicas []ReplicaStats `json:"replicas"`
}

// LayerStats counts the look-ups of one layer.
type LayerStats struct {
	Layer     string `json:"layer"`     // "local", "redis" or "database"
	Namespace string `json:"namespace"` // "validation", "role", "scope" or "user"
	Hits      uint64 `json:"hits"`      // answers, including "there is none"
	Misses    uint64 `json:"misses"`
	Errors    uint64 `json:"errors"`
}

// EntryCount is the number of entries that a layer holds in a name space.
type EntryCount struct {
	Layer     string `json:"layer"`
	Namespace string `json:"namespace"`
	Entries   int    `json:"entries"`
}

// Stats returns the figures of all layers and name spaces. Entries of the shared store
// were counted at the monitors' last run.
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

// localLookups returns the number of look-ups of keys and roles (asked), and how many of
// them L1 answered (hits).
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

// LocalBytes returns the memory of L1 that holds no pointers. A garbage collection
// neither scans nor frees it.
func (s *Service) LocalBytes() int {
	return s.keys.present.Bytes() + s.keys.negative.Bytes() + s.roles.present.Bytes() + s.roles.negative.Bytes()
}

// entries counts the stored entries. The number is -1 where a store did not answer.
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
