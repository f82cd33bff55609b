package cachesvc

import (
	"context"
	"fmt"
	"slices"
	"time"

	"extauthz/cachesvc/seal"
	"extauthz/cachesvc/store"
)

// sealsSeen is the age, in monitor intervals, up to which a replica's figures count. A
// replica with older ones may have ended.
const sealsSeen = 3

// SealingConflicts compares this replica's sealing keys with those of the other replicas,
// by the figures that each writes to the shared store. It returns a text for each
// instance that can't open what this replica seals, or the reverse. known is false if the
// shared store does not answer or there is none.
func (s *Service) SealingConflicts(ctx context.Context) (conflicts map[string]string, known bool) {
	all, err := s.readReplicas(ctx)
	if err != nil {
		return nil, false
	}
	return conflictsOf(*s.sealing.Load(), s.instance, all, s.Now().Add(-sealsSeen*s.monitor.Every)), true
}

// SealingConflictsIn is [Service.SealingConflicts] for a program that is not a replica
// and has the given keys. Figures older than since do not count.
func SealingConflictsIn(ctx context.Context, shared store.Store, keys seal.Keys, since time.Time) (map[string]string, error) {
	all, err := replicasIn(ctx, shared)
	if err != nil {
		return nil, err
	}
	return conflictsOf(keys, "", all, since), nil
}

func conflictsOf(keys seal.Keys, self string, all []ReplicaStats, since time.Time) map[string]string {
	own := keys.IDs()
	conflicts := map[string]string{}
	for _, r := range all {
		if r.Instance == self || r.At.Before(since) {
			continue
		}
		switch {
		case len(own) == 0 && len(r.Sealing) == 0:
		case len(r.Sealing) == 0:
			conflicts[r.Instance] = fmt.Sprintf("replica %s has no sealing key, this one seals with %s", r.Instance, own[0])
		case len(own) == 0:
			conflicts[r.Instance] = fmt.Sprintf("this replica has no sealing key, replica %s seals with %s", r.Instance, r.Sealing[0])
		case !slices.Contains(own, r.Sealing[0]):
			conflicts[r.Instance] = fmt.Sprintf("replica %s seals with key %s, which this one does not have", r.Instance, r.Sealing[0])
		case !slices.Contains(r.Sealing, own[0]):
			conflicts[r.Instance] = fmt.Sprintf("this replica seals with key %s, which replica %s does not have", own[0], r.Instance)
		}
	}
	return conflicts
}

// FeedError returns why the last read of the change feed failed; nil if it did not.
func (s *Service) FeedError() error {
	s.feed.mu.Lock()
	defer s.feed.mu.Unlock()
	return s.feed.err
}
