package usage

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"extauthz/authz"
)

// queueLimit is how many batches wait in memory. Beyond it, batches with a copy in Redis
// are dropped. If no batch has a copy, no more counts are taken from the counters.
const queueLimit = 200

// batchQueue holds the batches that are not known to be in the database. A batch keeps
// its source and sequence wherever it goes. Safe for concurrent use.
type batchQueue struct {
	source string

	mu      sync.Mutex
	last    uint64 // sequence of the last batch
	batches []*queuedBatch
	uses    atomic.Int64 // sum of the uses in batches
}

type queuedBatch struct {
	authz.UsageBatch
	at   time.Time // when the batch was made
	copy bool      // Redis has a copy
}

// add makes usage into batches.
func (h *batchQueue) add(usage []authz.Usage, at time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for some := range slices.Chunk(usage, batchKeys) {
		h.last++
		b := &queuedBatch{UsageBatch: authz.UsageBatch{Source: h.source, Sequence: h.last, Usage: some}, at: at}
		h.batches = append(h.batches, b)
		h.uses.Add(int64(b.Uses()))
	}
}

func (h *batchQueue) full() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.batches) >= queueLimit
}

// first returns up to n batches, the oldest ones.
func (h *batchQueue) first(n int) []authz.UsageBatch {
	h.mu.Lock()
	defer h.mu.Unlock()
	return batchesOf(h.batches[:min(n, len(h.batches))])
}

func batchesOf(held []*queuedBatch) []authz.UsageBatch {
	out := make([]authz.UsageBatch, len(held))
	for i, b := range held {
		out[i] = b.UsageBatch
	}
	return out
}

// drop removes batches that are in the database or in a file.
func (h *batchQueue) drop(some []authz.UsageBatch) {
	gone := make(map[uint64]bool, len(some))
	for _, b := range some {
		gone[b.Sequence] = true
	}
	h.remove(func(b *queuedBatch) bool { return gone[b.Sequence] })
}

func (h *batchQueue) remove(gone func(*queuedBatch) bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.batches = slices.DeleteFunc(h.batches, func(b *queuedBatch) bool {
		if !gone(b) {
			return false
		}
		h.uses.Add(-int64(b.Uses()))
		return true
	})
}

// exposed returns the batches that a killed process would lose.
func (h *batchQueue) exposed() (out []*queuedBatch) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, b := range h.batches {
		if !b.copy {
			out = append(out, b)
		}
	}
	return out
}

func (h *batchQueue) exposedUses() (n uint64) {
	for _, b := range h.exposed() {
		n += b.Uses()
	}
	return n
}

// copied records that Redis has a copy of the batch. The batch stays here as well, since
// Redis may lose its copy. If too many batches wait, the oldest one with a copy is
// dropped.
func (h *batchQueue) copied(b *queuedBatch) {
	h.mu.Lock()
	b.copy = true
	var oldest *queuedBatch
	if len(h.batches) >= queueLimit {
		i := slices.IndexFunc(h.batches, func(b *queuedBatch) bool { return b.copy })
		oldest = h.batches[i]
	}
	h.mu.Unlock()
	if oldest != nil {
		h.remove(func(b *queuedBatch) bool { return b == oldest })
	}
}

// storedBatch is a batch in Redis or in a file. It holds ids of keys and counts,
// and nothing secret.
type storedBatch struct {
	Source   string        `json:"source"`
	Sequence uint64        `json:"sequence"`
	At       time.Time     `json:"at"`
	Usage    []storedUsage `json:"usage"`
}

type storedUsage struct {
	KeyID string    `json:"key_id"`
	Count uint64    `json:"count"`
	Last  time.Time `json:"last_used_at"`
}

func encodeBatch(b *queuedBatch) ([]byte, error) {
	v := storedBatch{Source: b.Source, Sequence: b.Sequence, At: b.at.UTC()}
	for _, u := range b.Usage {
		v.Usage = append(v.Usage, storedUsage{u.KeyID, u.Count, u.LastUsedAt.UTC()})
	}
	data, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encoding usage: %w", err)
	}
	return data, nil
}

// maxUses bounds a count. A larger one is damaged or forged, and must not reach the
// database, which would refuse the whole transaction for ever.
const maxUses = 1 << 40

// storable reports whether both Postgres and SQLite accept a text as an id.
func storable(id string) bool {
	return id != "" && len(id) <= 200 && utf8.ValidString(id) && !strings.ContainsRune(id, 0)
}

func decodeBatch(data []byte, now time.Time) (authz.UsageBatch, error) {
	var v storedBatch
	if err := json.Unmarshal(data, &v); err != nil {
		return authz.UsageBatch{}, err
	}
	b := authz.UsageBatch{Source: v.Source, Sequence: v.Sequence}
	switch {
	case !storable(b.Source) || b.Sequence == 0 || b.Sequence > math.MaxInt64:
		return b, errors.New("it has no source or no sequence")
	case now.Sub(v.At) > maxBatchAge:
		return b, fmt.Errorf("it is older than %s", maxBatchAge)
	}
	for _, u := range v.Usage {
		if !storable(u.KeyID) || u.Count == 0 || u.Count > maxUses {
			return b, errors.New("it holds an id or a count that no replica writes")
		}
		b.Usage = append(b.Usage, authz.Usage{KeyID: u.KeyID, Count: u.Count, LastUsedAt: u.Last})
	}
	return b, nil
}
