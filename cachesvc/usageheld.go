package cachesvc

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

// heldLimit is how many batches wait in memory. Beyond it those with a copy in
// Redis are released, and without such nothing more is taken from the counters.
const heldLimit = 200

// held are the batches that are not known to be in the database. A batch keeps
// its source and sequence wherever it goes. Safe for concurrent use.
type held struct {
	source string

	mu      sync.Mutex
	last    uint64 // sequence
	batches []*heldBatch
	uses    atomic.Int64 // in batches
}

type heldBatch struct {
	authz.UsageBatch
	at   time.Time // when it was made
	copy bool      // there is one in Redis
}

// add makes batches of usage.
func (h *held) add(usage []authz.Usage, at time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for some := range slices.Chunk(usage, usageBatch) {
		h.last++
		b := &heldBatch{UsageBatch: authz.UsageBatch{Source: h.source, Sequence: h.last, Usage: some}, at: at}
		h.batches = append(h.batches, b)
		h.uses.Add(int64(b.Uses()))
	}
}

func (h *held) full() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.batches) >= heldLimit
}

// first returns up to n batches, the oldest ones.
func (h *held) first(n int) []authz.UsageBatch {
	h.mu.Lock()
	defer h.mu.Unlock()
	return batchesOf(h.batches[:min(n, len(h.batches))])
}

func batchesOf(held []*heldBatch) []authz.UsageBatch {
	out := make([]authz.UsageBatch, len(held))
	for i, b := range held {
		out[i] = b.UsageBatch
	}
	return out
}

// drop removes batches that are in the database or in a file.
func (h *held) drop(some []authz.UsageBatch) {
	gone := make(map[uint64]bool, len(some))
	for _, b := range some {
		gone[b.Sequence] = true
	}
	h.remove(func(b *heldBatch) bool { return gone[b.Sequence] })
}

func (h *held) remove(gone func(*heldBatch) bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.batches = slices.DeleteFunc(h.batches, func(b *heldBatch) bool {
		if !gone(b) {
			return false
		}
		h.uses.Add(-int64(b.Uses()))
		return true
	})
}

// exposed returns the batches that a killed process would lose.
func (h *held) exposed() (out []*heldBatch) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, b := range h.batches {
		if !b.copy {
			out = append(out, b)
		}
	}
	return out
}

func (h *held) exposedUses() (n uint64) {
	for _, b := range h.exposed() {
		n += b.Uses()
	}
	return n
}

// copied notes that Redis has a copy. The batch stays here as well, since Redis
// may lose it, as long as not too many do.
func (h *held) copied(b *heldBatch) {
	h.mu.Lock()
	b.copy = true
	var oldest *heldBatch
	if len(h.batches) >= heldLimit {
		i := slices.IndexFunc(h.batches, func(b *heldBatch) bool { return b.copy })
		oldest = h.batches[i]
	}
	h.mu.Unlock()
	if oldest != nil {
		h.remove(func(b *heldBatch) bool { return b == oldest })
	}
}

// batchValue is a batch in Redis or in a file. It holds ids of keys and counts,
// and nothing secret.
type batchValue struct {
	Source   string       `json:"source"`
	Sequence uint64       `json:"sequence"`
	At       time.Time    `json:"at"`
	Usage    []usageValue `json:"usage"`
}

type usageValue struct {
	KeyID string    `json:"key_id"`
	Count uint64    `json:"count"`
	Last  time.Time `json:"last_used_at"`
}

func encodeBatch(b *heldBatch) ([]byte, error) {
	v := batchValue{Source: b.Source, Sequence: b.Sequence, At: b.at.UTC()}
	for _, u := range b.Usage {
		v.Usage = append(v.Usage, usageValue{u.KeyID, u.Count, u.LastUsedAt.UTC()})
	}
	data, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encoding usage: %w", err)
	}
	return data, nil
}

// mostUses keeps a damaged or invented count away from the database, which would
// refuse the whole transaction for ever.
const mostUses = 1 << 40

// storable reports whether both databases take a text as an id.
func storable(id string) bool {
	return id != "" && len(id) <= 200 && utf8.ValidString(id) && !strings.ContainsRune(id, 0)
}

func decodeBatch(data []byte, now time.Time) (authz.UsageBatch, error) {
	var v batchValue
	if err := json.Unmarshal(data, &v); err != nil {
		return authz.UsageBatch{}, err
	}
	b := authz.UsageBatch{Source: v.Source, Sequence: v.Sequence}
	switch {
	case !storable(b.Source) || b.Sequence == 0 || b.Sequence > math.MaxInt64:
		return b, errors.New("it has no source or no sequence")
	case now.Sub(v.At) > usageAge:
		return b, fmt.Errorf("it is older than %s", usageAge)
	}
	for _, u := range v.Usage {
		if !storable(u.KeyID) || u.Count == 0 || u.Count > mostUses {
			return b, errors.New("it holds an id or a count that no replica writes")
		}
		b.Usage = append(b.Usage, authz.Usage{KeyID: u.KeyID, Count: u.Count, LastUsedAt: u.Last})
	}
	return b, nil
}
