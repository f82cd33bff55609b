package cachesvc

import (
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"
)

// value is what L1 holds under one id: data where stamp.found, else the
// knowledge that there is nothing. It is not changed once it is shared.
type value[T any] struct {
	stamp
	data T

	refreshing atomic.Bool // somebody reads it anew, ahead of its end
}

// local is one name space of L1. It keeps values, it does not judge them
// ([recent] does). Implementations are bounded by entries and safe for
// concurrent use; get neither allocates nor keeps the id.
type local[T any] interface {
	get(id string) *value[T]
	put(id string, v *value[T])
	drop(id string) bool
	// dropWhere drops what match is true for and returns how many that were.
	dropWhere(match func(id string, v *value[T]) bool) int
	len() int
}

// newLocal returns a local with room for limit values.
func newLocal[T any](limit int) local[T] { return newShardedMap[T](limit) }

const (
	maxShards   = 64
	leastShard  = 256 // entries worth a shard
	shardMargin = 64  // keeps the locks of two shards off one cache line
)

// shardedMap is a map under as many read locks as there are shards, bounded by
// the clock algorithm: a value in use survives one round of the hand, so a burst
// of keys that are seen once does not push out those in use.
type shardedMap[T any] struct {
	seed   maphash.Seed
	shards []shard[T]
}

type shard[T any] struct {
	mu    sync.RWMutex
	slots map[string]*slot[T]
	ring  []*slot[T]
	hand  int
	limit int
	_     [shardMargin]byte
}

type slot[T any] struct {
	id    string
	place int // in the ring
	value *value[T]
	used  atomic.Bool
}

func newShardedMap[T any](limit int) *shardedMap[T] {
	n := 1
	for n < maxShards && limit/(2*n) >= leastShard {
		n *= 2
	}
	m := &shardedMap[T]{seed: maphash.MakeSeed(), shards: make([]shard[T], n)}
	for i := range m.shards {
		m.shards[i].slots = make(map[string]*slot[T])
		m.shards[i].limit = max(limit/n, 1)
	}
	return m
}

func (m *shardedMap[T]) shard(id string) *shard[T] {
	return &m.shards[maphash.String(m.seed, id)&uint64(len(m.shards)-1)]
}

func (m *shardedMap[T]) get(id string) *value[T] {
	sh := m.shard(id)
	sh.mu.RLock()
	sl := sh.slots[id]
	if sl == nil {
		sh.mu.RUnlock()
		return nil
	}
	v := sl.value
	sh.mu.RUnlock()
	if !sl.used.Load() {
		sl.used.Store(true)
	}
	return v
}

func (m *shardedMap[T]) put(id string, v *value[T]) {
	sh := m.shard(id)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if sl := sh.slots[id]; sl != nil {
		sl.value = v
		return
	}
	if len(sh.ring) >= sh.limit {
		sh.evict()
	}
	sl := &slot[T]{id: id, place: len(sh.ring), value: v}
	sh.slots[id] = sl
	sh.ring = append(sh.ring, sl)
}

func (m *shardedMap[T]) drop(id string) bool {
	sh := m.shard(id)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	sl := sh.slots[id]
	if sl == nil {
		return false
	}
	sh.remove(sl)
	return true
}

func (m *shardedMap[T]) dropWhere(match func(string, *value[T]) bool) (dropped int) {
	for i := range m.shards {
		sh := &m.shards[i]
		sh.mu.Lock()
		for place := len(sh.ring) - 1; place >= 0; place-- {
			if sl := sh.ring[place]; match(sl.id, sl.value) {
				sh.remove(sl)
				dropped++
			}
		}
		sh.mu.Unlock()
	}
	return dropped
}

func (m *shardedMap[T]) len() (n int) {
	for i := range m.shards {
		m.shards[i].mu.RLock()
		n += len(m.shards[i].ring)
		m.shards[i].mu.RUnlock()
	}
	return n
}

// evict removes the first value that was not used since the hand last came by.
func (sh *shard[T]) evict() {
	for {
		if sh.hand >= len(sh.ring) {
			sh.hand = 0
		}
		if sl := sh.ring[sh.hand]; !sl.used.Swap(false) {
			sh.remove(sl)
			return
		}
		sh.hand++
	}
}

// remove puts the last of the ring in the removed one's place.
func (sh *shard[T]) remove(sl *slot[T]) {
	last := sh.ring[len(sh.ring)-1]
	sh.ring[sl.place], last.place = last, sl.place
	sh.ring[len(sh.ring)-1] = nil
	sh.ring = sh.ring[:len(sh.ring)-1]
	delete(sh.slots, sl.id)
}

// jittered takes up to a tenth off a lifetime, so that what was filled together
// does not expire together, and nothing outlives its lifetime.
func jittered(ttl time.Duration, random float64) time.Duration {
	return ttl - time.Duration(random*float64(ttl)/10)
}
