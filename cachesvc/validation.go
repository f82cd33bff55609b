package cachesvc

import (
	"context"

	"extauthz/authz"
	"extauthz/cachesvc/internal/freshness"
	"extauthz/cachesvc/internal/l1"
	"extauthz/cachesvc/store"
)

// Lookup finds the key with this prefix; a nil Record means that there is none. An error
// means that no layer could answer, or ctx's end. The prefix may be borrowed. Safe for
// concurrent use. With a scratch that was used before, a hit in L1 does not allocate;
// without one, a hit for a key that is not hot allocates once or a few times, depending
// on how much the key holds.
func (s *Service) Lookup(ctx context.Context, prefix string, into *authz.Scratch) (authz.Entry, error) {
	v, layer, err := s.keys.get(ctx, prefix, scratchValue(into))
	if err != nil {
		return authz.Entry{}, err
	}
	if !v.Found {
		return authz.Entry{Layer: layer}, nil
	}
	return authz.Entry{Record: &v.Data.Record, Verifier: v.Data.Verifier, Layer: layer}, nil
}

// scratchValue is what a scratch holds for this package; nil where there is none.
func scratchValue(s *authz.Scratch) *l1.Value[l1.Credential] {
	if s == nil {
		return nil
	}
	v, ok := s.Held.(*l1.Value[l1.Credential])
	if !ok {
		v = &l1.Value[l1.Credential]{}
		s.Held = v
	}
	return v
}

// validationKeys is the name space of keys in the shared store.
const validationKeys = "apikey:validation:"

// fetchKey reads a key from the shared store; nil if there is none that may be trusted.
// The clock must have been set by the feed.
func (s *Service) fetchKey(ctx context.Context, prefix string) *l1.Value[l1.Credential] {
	keys := s.sealing.Load()
	if len(*keys) == 0 {
		return nil
	}
	v := &l1.Value[l1.Credential]{}
	epoch := s.epoch()
	v.Seq, v.Generation = s.trust.window.Begin()
	data, found, err := s.shared.Get(ctx, validationKeys+prefix)
	if err != nil {
		s.sharedCounts.errors.Add(1)
		return nil
	}
	if !found {
		s.sharedCounts.misses.Add(1)
		return nil
	}
	c, from, err := decodeKey(*keys, prefix, data)
	if err != nil {
		s.sharedCounts.misses.Add(1)
		s.recordRefusal("validation", prefix, err)
		return nil
	}
	v.Found, v.Shared, v.Version, v.Data = true, true, c.Record.Version, *c
	v.AsOf = s.trust.readAt(from.AsOf)
	s.keys.setLifetime(v)
	now := s.trust.clock.Monotonic()
	if from.Epoch != epoch || now >= v.Expires || v.AsOf > now+freshness.AsOfSlack {
		s.sharedCounts.misses.Add(1)
		return nil
	}
	s.sharedCounts.hits.Add(1)
	return v
}

// shareKey writes a key that was read from the database for other replicas,
// and for this one after a restart.
func (s *Service) shareKey(v *l1.Value[l1.Credential]) {
	if item, ok := s.sharedItem(v); ok {
		s.shared.WriteLater(item)
	}
}

// sharedItem encodes a key for the shared store; false if its age or its epoch is
// unknown.
func (s *Service) sharedItem(v *l1.Value[l1.Credential]) (store.Item, bool) {
	now := s.trust.clock.Monotonic()
	epoch := s.epoch()
	ttl := jittered(s.keys.ttl, s.keys.jitter()) - (now - v.AsOf)
	if epoch == "" || ttl <= 0 || !s.trust.lease.WithinMaxStale(now) || !s.trust.window.SameGeneration(v.Generation) {
		return store.Item{}, false
	}
	data, err := encodeKey(*s.sealing.Load(), &v.Data, source{epoch, s.trust.clock.DatabaseTime(v.AsOf)})
	if err != nil {
		s.log.Warn("a key can't be written to Redis", "prefix", v.Data.Record.Prefix, "error", err)
		return store.Item{}, false
	}
	return store.Item{Key: validationKeys + v.Data.Record.Prefix, Value: data, TTL: ttl,
		Tags: []string{tagValidation, tagUser + store.Identifier(v.Data.Record.UserID), tagKey + v.Data.Record.ID}}, true
}

// recordRefusal counts and logs a value whose seal does not open: a client has changed
// it, or a replica has another sealing key.
func (s *Service) recordRefusal(namespace, id string, err error) {
	if s.sharedCounts.refused.Add(1)%refusalsLogged == 1 {
		s.log.Warn("a value in Redis is not trusted", "namespace", namespace, "id", id, "error", err, "so_far", s.sharedCounts.refused.Load())
	}
}

// refusalsLogged is how many refusals there are for each one that is logged.
const refusalsLogged = 1000
