package cachesvc

import (
	"context"

	"extauthz/authz"
	"extauthz/cachesvc/internal/freshness"
	"extauthz/cachesvc/internal/l1"
	"extauthz/cachesvc/store"
)

// Lookup finds the key with this prefix. A nil Record means that there is no such key. An
// error means that no layer could answer, that too many unknown keys are looked up
// (authz.ErrThrottled), or that ctx ended. The prefix is not kept, so its memory may be
// borrowed. Safe for concurrent use.
//
// A hit in L1 does not allocate if into was used before. Without into, a hit for a key
// that is not hot allocates once or a few times, depending on how much the key holds.
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

// scratchValue returns the value that a scratch holds for this package, and makes it at
// first use. It returns nil if there is no scratch.
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

// fetchKey reads a key from the shared store. It returns nil if there is none that may be
// trusted. The feed must have set the clock before.
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

// shareKey writes a key that was read from the database to the shared store, for other
// replicas and for this one after a restart.
func (s *Service) shareKey(v *l1.Value[l1.Credential]) {
	if item, ok := s.sharedItem(v); ok {
		s.shared.WriteLater(item)
	}
}

// sharedItem encodes a key for the shared store. It returns false if the key's age or
// epoch is unknown, if its lifetime is over, or if it can't be encoded.
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
// the value, or a replica has another sealing key.
func (s *Service) recordRefusal(namespace, id string, err error) {
	if s.sharedCounts.refused.Add(1)%refusalsLogged == 1 {
		s.log.Warn("a value in Redis is not trusted", "namespace", namespace, "id", id, "error", err, "so_far", s.sharedCounts.refused.Load())
	}
}

// refusalsLogged is the number of refusals of which one is logged.
const refusalsLogged = 1000
