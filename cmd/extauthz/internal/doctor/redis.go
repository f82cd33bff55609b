package doctor

import (
	"context"
	"strings"
	"time"

	"extauthz/cachesvc"
	"extauthz/cmd/extauthz/internal/server"
)

// replicasSeen is the age up to which a replica's figures in Redis count, in intervals of
// the monitor that writes them.
const replicasSeen = 3

func (r *report) redis(ctx context.Context) {
	s := r.c.Settings
	client, store, err := server.OpenRedis(s)
	if err != nil {
		r.add("redis", Failed, "correct cache.redis", "%v", err)
		return
	}
	if store == nil {
		r.add("redis", Skipped, "", "none is configured")
		return
	}
	defer func() { _ = client.Close() }()
	limited, cancel := context.WithTimeout(ctx, budget)
	defer cancel()
	if err := store.Ping(limited); err != nil {
		r.add("redis", Warning, "bring Redis up, or correct cache.redis; checks go on without it", "it does not answer: %v", err)
		return
	}
	r.add("redis", OK, "", "it answers")
	if m, err := store.Memory(limited); err == nil {
		switch {
		case strings.HasPrefix(m.Policy, "allkeys-"):
			r.add("redis policy", Warning, "set maxmemory-policy volatile-lru", "maxmemory-policy is %s: counted uses of keys could be evicted, so they go to the database directly", m.Policy)
		case m.Max > 0 && m.Policy == "noeviction":
			r.add("redis policy", Warning, "set maxmemory-policy volatile-lru", "maxmemory-policy is noeviction: a full Redis refuses writes")
		default:
			r.add("redis policy", OK, "", "maxmemory-policy %s, maxmemory %d", m.Policy, m.Max)
		}
	}
	keys, err := s.SealingKeys()
	if err != nil {
		return // validation would have refused the configuration
	}
	if len(keys) == 0 {
		r.add("redis sealing", Warning, "set cache.sealing_key_file to the same file on all replicas", "there is no sealing key: values in Redis are not trusted for authorization")
	}
	conflicts, err := cachesvc.SealingConflictsIn(limited, store, keys, r.c.Now().Add(-replicasSeen*s.Cache.Monitor.Interval).Add(-time.Minute))
	if err != nil {
		r.add("redis sealing", Warning, "see Redis's log", "the replicas' figures can't be read: %v", err)
		return
	}
	for _, text := range conflicts {
		r.add("redis sealing", Warning, "give all replicas the same file in cache.sealing_key_file", "%s", text)
	}
	if len(conflicts) == 0 && len(keys) > 0 {
		r.add("redis sealing", OK, "", "all replicas that run have this sealing key")
	}
}
