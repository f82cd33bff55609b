package cachesvc

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"extauthz/cachesvc/internal/remote"
	"extauthz/cachesvc/internal/usage"
	"extauthz/cachesvc/store"
)

// MonitorConfig holds the thresholds at which the cache's monitors warn. Zero fields take
// their defaults.
type MonitorConfig struct {
	Every   time.Duration // time between two runs
	Memory  float64       // used share of the shared store's memory above which it warns
	HitRate float64       // hit rate of L1 below which it warns
	Lookups uint64        // number of look-ups that are needed to judge a hit rate
	Entries int           // entries in one name space of the shared store above which it warns
	// StatsTTL is how long each replica's figures stay in the shared store.
	StatsTTL time.Duration
}

// Defaults of [MonitorConfig].
const (
	DefaultMonitorEvery   = 30 * time.Second
	DefaultMonitorMemory  = 0.8
	DefaultMonitorHitRate = 0.8
	DefaultMonitorLookups = 1000
	DefaultMonitorEntries = 10_000
	DefaultStatsTTL       = time.Hour
)

// countBudget is how long counting the shared store's entries, or dropping entries there,
// may take. Entries are counted by a scan in steps, which block no other client.
const countBudget = 5 * time.Second

// cleanEvery is the least time between two cleanings of a store that is nearly full.
const cleanEvery = 5 * time.Minute

func (c MonitorConfig) withDefaults() MonitorConfig {
	setDefault(&c.Every, DefaultMonitorEvery)
	setDefault(&c.Memory, DefaultMonitorMemory)
	setDefault(&c.HitRate, DefaultMonitorHitRate)
	setDefault(&c.Lookups, DefaultMonitorLookups)
	setDefault(&c.Entries, DefaultMonitorEntries)
	setDefault(&c.StatsTTL, DefaultStatsTTL)
	return c
}

// sharedNamespaces maps the name spaces of the shared store to the first part of their
// keys.
var sharedNamespaces = map[string]string{
	namespaceValidation: validationKeys, namespaceScope: scopeKeys, namespaceUserList: userListKeys,
	namespaceUsage: usage.KeyPrefix, namespaceStats: statsKeys,
}

const (
	statsKeys = "apikey:stats:" // + instance
	tagStats  = "apikey-stats"
)

// Finding is the result of one monitor.
type Finding struct {
	Monitor string  `json:"monitor"` // "memory", "hit_rate" or "entries"
	OK      bool    `json:"ok"`
	Value   float64 `json:"value"`  // -1: not known
	Limit   float64 `json:"limit"`  // threshold of the warning
	Detail  string  `json:"detail"` // text for people
}

// monitor keeps the results of the last run.
type monitor struct {
	MonitorConfig
	mu       sync.Mutex
	findings []Finding
	counts   map[string]int // entries of the shared store by name space; -1 if it did not answer
	warned   map[string]bool
	since    window
	cleaned  time.Duration
}

// window is the start of the period over which a hit rate is counted.
type window struct {
	hits, lookups uint64
	at            time.Time
}

func newMonitor(c MonitorConfig) *monitor {
	return &monitor{MonitorConfig: c, counts: map[string]int{}, warned: map[string]bool{}, cleaned: -cleanEvery}
}

// watch monitors memory, hit rate and leaks until ctx ends.
func (s *Service) watch(ctx context.Context) {
	tick := time.NewTicker(s.monitor.Every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			s.RunMonitors(ctx)
		}
	}
}

// Findings returns the results of the last run.
func (s *Service) Findings() []Finding {
	s.monitor.mu.Lock()
	defer s.monitor.mu.Unlock()
	return slices.Clone(s.monitor.findings)
}

// RunMonitors runs all monitors now, and logs each one that begins or stops warning.
func (s *Service) RunMonitors(ctx context.Context) []Finding {
	m := s.monitor
	counts := s.countShared(ctx)
	findings := []Finding{s.checkHitRate(), s.checkEntries(counts), s.checkMemory(ctx)}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.findings, m.counts = findings, counts
	for _, f := range findings {
		if m.warned[f.Monitor] == !f.OK {
			continue
		}
		m.warned[f.Monitor] = !f.OK
		if f.OK {
			s.log.Info("cache monitor has recovered", "monitor", f.Monitor, "detail", f.Detail)
		} else {
			s.log.Warn("cache monitor warns", "monitor", f.Monitor, "detail", f.Detail)
		}
	}
	s.publishStats(ctx)
	return slices.Clone(findings)
}

// countShared counts the entries of the shared store by name space. The numbers are 0 if
// there is no shared store, and -1 where it does not answer.
func (s *Service) countShared(ctx context.Context) map[string]int {
	counts := make(map[string]int, len(sharedNamespaces))
	if s.shared == nil {
		for name := range sharedNamespaces {
			counts[name] = 0
		}
		return counts
	}
	for name, prefix := range sharedNamespaces {
		err := s.shared.Do(ctx, remote.OpCount, countBudget, func(ctx context.Context) (err error) {
			counts[name], err = s.shared.Store.Count(ctx, prefix)
			return err
		})
		if err != nil {
			counts[name] = -1
		}
	}
	return counts
}

func (s *Service) checkEntries(counts map[string]int) Finding {
	f := Finding{Monitor: "entries", OK: true, Limit: float64(s.monitor.Entries), Detail: "no name space of Redis holds too many entries"}
	for _, name := range slices.Sorted(maps.Keys(counts)) {
		n := counts[name]
		if f.Value = max(f.Value, float64(n)); n > s.monitor.Entries {
			f.OK = false
			f.Detail = fmt.Sprintf("%d entries in name space %s of Redis, more than %d: look for a leak, or raise cache.monitor.entries", n, name, s.monitor.Entries)
		}
		if n < 0 {
			return Finding{Monitor: "entries", OK: true, Value: -1, Limit: f.Limit, Detail: "Redis does not answer"}
		}
	}
	return f
}

// checkHitRate judges the look-ups since the last judgement, once there are enough of
// them. If the rate is low, the finding also reports what was invalidated meanwhile, and
// why.
func (s *Service) checkHitRate() Finding {
	m := s.monitor
	now := window{at: s.Now()}
	now.hits, now.lookups = s.localLookups()
	m.mu.Lock()
	defer m.mu.Unlock()
	f := Finding{Monitor: "hit_rate", OK: !m.warned["hit_rate"], Value: -1, Limit: m.HitRate}
	n := now.lookups - m.since.lookups
	if n < m.Lookups {
		f.Detail = fmt.Sprintf("%d look-ups since the last judgement; %d are needed for one", n, m.Lookups)
		return f
	}
	f.Value = float64(now.hits-m.since.hits) / float64(n)
	f.OK = f.Value >= m.HitRate
	f.Detail = fmt.Sprintf("%.1f %% of %d look-ups were answered by the process", 100*f.Value, n)
	if !f.OK {
		f.Detail += "; " + s.auditSince(m.since.at)
	}
	m.since = now
	return f
}

// auditSince describes on one line what was invalidated after the given time.
func (s *Service) auditSince(since time.Time) string {
	causes := map[CauseKind]int{}
	for _, i := range s.Invalidations(maxHistory) {
		if i.At.After(since) {
			causes[i.Cause.Kind] += i.Dropped
		}
	}
	if len(causes) == 0 {
		return "nothing was invalidated meanwhile: more keys are in use than fit, or they are used seldom"
	}
	var parts []string
	for _, kind := range slices.Sorted(maps.Keys(causes)) {
		parts = append(parts, fmt.Sprintf("%s dropped %d", kind, causes[kind]))
	}
	return "invalidations meanwhile: " + strings.Join(parts, ", ") + " (cache audit shows each)"
}

// checkMemory warns if the shared store is nearly full. It then drops the entries that
// are cheapest to rebuild: the scope cache.
func (s *Service) checkMemory(ctx context.Context) Finding {
	f := Finding{Monitor: "memory", OK: true, Value: -1, Limit: s.monitor.Memory, Detail: "there is no Redis"}
	if s.shared == nil {
		return f
	}
	var m store.Memory
	err := s.shared.Do(ctx, remote.OpMemory, remote.BackgroundBudget, func(ctx context.Context) (err error) {
		m, err = s.shared.Store.Memory(ctx)
		return err
	})
	if err != nil {
		f.Detail = "Redis does not answer"
		return f
	}
	s.usage.SetPolicy(m)
	if m.Max == 0 {
		f.Value, f.Detail = 0, fmt.Sprintf("%d bytes used; Redis has no maxmemory", m.Used)
		return f
	}
	f.Value = float64(m.Used) / float64(m.Max)
	f.Detail = fmt.Sprintf("%.0f %% of %d bytes used (%s)", 100*f.Value, m.Max, m.Policy)
	if f.OK = f.Value <= s.monitor.Memory; !f.OK {
		s.clean(ctx)
	}
	return f
}

func (s *Service) clean(ctx context.Context) {
	now := s.trust.clock.Monotonic()
	s.monitor.mu.Lock()
	due := now >= s.monitor.cleaned+cleanEvery
	if due {
		s.monitor.cleaned = now
	}
	s.monitor.mu.Unlock()
	if !due {
		return
	}
	var dropped int
	err := s.shared.Do(ctx, remote.OpInvalidate, countBudget, func(ctx context.Context) (err error) {
		dropped, err = s.shared.Store.InvalidateTags(ctx, tagScopes)
		return err
	})
	if err == nil {
		s.record(Cause{Kind: CauseMemory, By: "monitor", Why: "Redis is nearly full"}, "tag "+tagScopes, dropped)
	}
}

// publishStats writes this replica's figures to the shared store, where all replicas can
// read them.
func (s *Service) publishStats(ctx context.Context) {
	if s.shared == nil {
		return
	}
	data, err := json.Marshal(ReplicaStats{Instance: s.instance, At: s.Now().UTC(), Layers: s.layers(), HitRate: s.hitRate(), Sealing: s.sealing.Load().IDs()})
	if err != nil {
		return
	}
	s.shared.WriteLater(store.Item{Key: statsKeys + store.Identifier(s.instance), Value: data, TTL: s.monitor.StatsTTL, Tags: []string{tagStats}})
}

// ReplicaStats are the figures that a replica has written to the shared store.
type ReplicaStats struct {
	Instance string       `json:"instance"`
	At       time.Time    `json:"at"`
	Layers   []LayerStats `json:"layers"`
	HitRate  float64      `json:"hit_rate"`
	Sealing  []string     `json:"sealing,omitempty"` // ids of its sealing keys; the first is the one that seals
}

// maxReplicas is how many replicas' figures are read at most.
const maxReplicas = 100

// Replicas returns the figures that replicas have written within the last
// MonitorConfig.StatsTTL (an hour by default). It returns none if there is no shared
// store or it does not answer.
func (s *Service) Replicas(ctx context.Context) []ReplicaStats {
	all, err := s.readReplicas(ctx)
	if err != nil {
		return nil
	}
	return all
}

func (s *Service) readReplicas(ctx context.Context) (all []ReplicaStats, err error) {
	err = s.shared.Do(ctx, remote.OpGet, remote.BackgroundBudget, func(ctx context.Context) error {
		all, err = replicasIn(ctx, s.shared.Store)
		return err
	})
	return all, err
}

func replicasIn(ctx context.Context, shared store.Store) (all []ReplicaStats, err error) {
	keys, err := shared.Tagged(ctx, tagStats, maxReplicas)
	if err != nil {
		return nil, err
	}
	values, err := shared.MGet(ctx, keys...)
	if err != nil {
		return nil, err
	}
	for _, data := range values {
		var r ReplicaStats
		if data != nil && json.Unmarshal(data, &r) == nil {
			all = append(all, r)
		}
	}
	slices.SortFunc(all, func(a, b ReplicaStats) int { return strings.Compare(a.Instance, b.Instance) })
	return all, nil
}
