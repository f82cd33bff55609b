package store

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"time"
)

// Store keeps bytes under keys. Implementations are safe for concurrent use, bounded in
// size, and copy the values that they store. Returned values must not be changed. A miss
// is no error. Every error but [ErrInvalid] means that the store did not serve the call:
// mostly because it could not be reached, or because ctx ended.
type Store interface {
	// Get returns the value, and whether there is one.
	Get(ctx context.Context, key string) (value []byte, found bool, err error)
	// MGet returns the values in the order of keys, nil for a miss.
	MGet(ctx context.Context, keys ...string) ([][]byte, error)
	// Set stores the item, in place of an item with the same key. A tag that only the
	// replaced item had may still remove the new one, which does no harm.
	Set(ctx context.Context, item Item) error
	// MSet stores each item as Set does, but not in one transaction.
	MSet(ctx context.Context, items ...Item) error
	// Delete removes entries and returns their number.
	Delete(ctx context.Context, keys ...string) (int, error)
	// Tag adds tags to an entry. It does nothing if there is no such entry.
	Tag(ctx context.Context, key string, tags ...string) error
	// Untag removes a tag from entries, whether they still exist or not.
	Untag(ctx context.Context, tag string, keys ...string) error
	// InvalidateTags removes every entry that carries one of the tags and returns their
	// number.
	InvalidateTags(ctx context.Context, tags ...string) (int, error)
	// Tagged returns up to limit keys that carry the tag, in no order. Keys of expired
	// entries may be among them.
	Tagged(ctx context.Context, tag string, limit int) ([]string, error)
	// Count returns how many entries have a key that begins with namespace.
	Count(ctx context.Context, namespace string) (int, error)
	// Statistics returns the figures since the start.
	Statistics(ctx context.Context) (Statistics, error)
}

// Item is an entry to be stored.
type Item struct {
	Key   string
	Value []byte        // not nil; may be empty
	TTL   time.Duration // the lifetime; with 0 or less nothing is stored, and an existing item is removed
	Tags  []string
}

// Forever is the TTL of an item that does not expire. A full store does not evict such an
// item to make room for another. Items with this TTL and items with another one must not
// share a tag.
const Forever time.Duration = math.MaxInt64

// Statistics are a store's figures.
type Statistics struct {
	Hits, Misses, Errors uint64
	Entries              int
	Bytes                int64 // bytes of values; -1 if not known
}

// HitRate returns the share of look-ups that found something; 0 if there were none.
func (s Statistics) HitRate() float64 {
	if s.Hits+s.Misses == 0 {
		return 0
	}
	return float64(s.Hits) / float64(s.Hits+s.Misses)
}

// ErrInvalid is the error for a key or tag that no store accepts: see [CheckName].
var ErrInvalid = errors.New("name is not valid")

// maxName is the longest key or tag, in bytes.
const maxName = 512

// CheckName refuses keys and tags that are empty, longer than 512 bytes, or contain
// anything but ASCII letters, digits and "_-:.". Other characters are refused, not
// removed: two names must never become one.
func CheckName(name string) error {
	if name == "" || len(name) > maxName {
		return fmt.Errorf("%w: %d bytes; 1 to %d are", ErrInvalid, len(name), maxName)
	}
	for i := range len(name) {
		if c := name[i]; !identifierByte(c) && c != ':' && c != '.' {
			return fmt.Errorf("%w: byte %#x; letters, digits and _-:. are", ErrInvalid, c)
		}
	}
	return nil
}

// longestPlain is the length of the longest text that [Identifier] returns unchanged.
const longestPlain = 128

// Identifier turns any text into a part of a key or tag. A short text of ASCII letters,
// digits, "_" and "-" stays as it is. Any other text becomes a "." and its hash. No
// unchanged text begins with ".", so no two texts get the same identifier.
func Identifier(text string) string {
	plain := text != "" && len(text) <= longestPlain
	for i := 0; plain && i < len(text); i++ {
		plain = identifierByte(text[i])
	}
	if plain {
		return text
	}
	sum := sha256.Sum256([]byte(text))
	return "." + hex.EncodeToString(sum[:])
}

func identifierByte(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '_' || c == '-'
}

// Memory describes how full a store is. If it has several nodes, it describes the fullest
// one.
type Memory struct {
	Used, Max int64  // bytes; Max 0 means no limit
	Policy    string // what is evicted when it is full, such as "volatile-lru"
}
