package cachesvc

import (
	"context"
	"sync/atomic"
)

// Name spaces of entries: the label namespace, and parts of cache keys.
const (
	namespaceValidation = "validation"
	namespaceUnknown    = "unknown" // prefixes and roles that do not exist
	namespaceRole       = "role"
	namespaceUserList   = "user"
)

// counts are the outcomes of one reader's look-ups.
type counts struct {
	localHit, localAbsent, localMiss             atomic.Uint64
	databaseFound, databaseAbsent, databaseError atomic.Uint64
}

func (c *counts) local(found bool) {
	if found {
		c.localHit.Add(1)
	} else {
		c.localAbsent.Add(1)
	}
}

func (c *counts) database(found bool) {
	if found {
		c.databaseFound.Add(1)
	} else {
		c.databaseAbsent.Add(1)
	}
}

// Stats are the cache's figures since the start.
type Stats struct {
	Layers  []LayerStats `json:"layers"`
	Entries []EntryCount `json:"entries"`
	HitRate float64      `json:"hit_rate"` // of all look-ups, the part that L1 answered; 0 with none
}

// LayerStats are the look-ups that one layer was asked.
type LayerStats struct {
	Layer     string `json:"layer"`     // "local" or "database"
	Namespace string `json:"namespace"` // "validation" or "role"
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

// Stats returns the figures of all layers and name spaces.
func (s *Service) Stats(ctx context.Context) Stats {
	st := Stats{Entries: s.entries(ctx)}
	var hits, asked uint64
	for _, r := range []struct {
		namespace string
		counts    *counts
	}{{namespaceValidation, &s.keys.counts}, {namespaceRole, &s.roles.counts}} {
		c := r.counts
		local := LayerStats{"local", r.namespace, c.localHit.Load() + c.localAbsent.Load(), c.localMiss.Load(), 0}
		database := LayerStats{"database", r.namespace, c.databaseFound.Load() + c.databaseAbsent.Load(), 0, c.databaseError.Load()}
		st.Layers = append(st.Layers, local, database)
		hits += local.Hits
		asked += local.Hits + local.Misses
	}
	if asked > 0 {
		st.HitRate = float64(hits) / float64(asked)
	}
	return st
}

// entries counts what is held; -1 where a store could not tell.
func (s *Service) entries(ctx context.Context) []EntryCount {
	lists, err := s.lists.Count(ctx, userListKeys)
	if err != nil {
		lists = -1
	}
	return []EntryCount{
		{"local", namespaceValidation, s.keys.present.len()},
		{"local", namespaceRole, s.roles.present.len()},
		{"local", namespaceUnknown, s.keys.absent.len() + s.roles.absent.len()},
		{"local", namespaceUserList, lists},
	}
}
