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
// size, and copy values on the way in; values that are returned must not be changed. A
// miss is no error. Every error but ErrInvalid means that the store could not be reached.
type Store interface {
	// Get returns the value, and whether there is one.
	Get(ctx context.Context, key string) (value []byte, found bool, err error)
	// MGet returns the values in the order of keys, nil for a miss.
	MGet(ctx context.Context, keys ...string) ([][]byte, error)
	// Set stores the item in place of what was there. A tag that only the replaced item
	// had may still remove the new one, which does no harm.
	Set(ctx context.Context, item Item) error
	// MSet stores each item as Set does; not in one transaction.
	MSet(ctx context.Context, items ...Item) error
	// Delete removes entries and returns their number.
	Delete(ctx context.Context, keys ...string) (int, error)
	// Tag adds tags to an entry; a miss is left alone.
	Tag(ctx context.Context, key string, tags ...string) error
	// Untag takes a tag off entries, whether they are there or not.
	Untag(ctx context.Context, tag string, keys ...string) error
	// InvalidateTags removes every entry that carries one of the tags and returns their
	// number.
	InvalidateTags(ctx context.Context, tags ...string) (int, error)
	// Tagged returns up to limit keys that carry the tag, in no order. Those that
	// have expired may be among them.
	Tagged(ctx context.Context, tag string, limit int) ([]string, error)
	// Count returns how many entries have a key that begins with namespace.
	Count(ctx context.Context, namespace string) (int, error)
	// Statistics returns the figures since the start.
	Statistics(ctx context.Context) (Statistics, error)
}

// Item is what is stored.
type Item struct {
	Key   string
	Value []byte        // not nil; may be empty
	TTL   time.Duration // the lifetime; 0 or less stores nothing and removes what was there
	Tags  []string
}

// Forever is the TTL of an item that does not expire; a store that is full does
// not evict it to make room for another. Items with and without it must not
// share a tag.
const Forever time.Duration = math.MaxInt64

// Statistics are a store's figures.
type Statistics struct {
	Hits, Misses, Errors uint64
	Entries              int
	Bytes                int64 // of values; -1 where not known
}

// HitRate is the part of look-ups that found something; 0 with none.
func (s Statistics) HitRate() float64 {
	if s.Hits+s.Misses == 0 {
		return 0
	}
	return float64(s.Hits) / float64(s.Hits+s.Misses)
}

// ErrInvalid is a key or tag that no store takes: see [CheckName].
var ErrInvalid = errors.New("name is not valid")

// maxName is the longest key or tag, in bytes.
const maxName = 512

// CheckName refuses keys and tags that are empty, over 512 bytes, or hold anything but
// letters, digits and "_-:.". They are refused, not stripped: two names must never become
// one.
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

// longestPlain is the longest identifier that is part of a name unchanged.
const longestPlain = 128

// Identifier makes a part of a key or tag out of any text: the text itself if
// it is short and made of letters, digits, "_" and "-", else its hash after a
// ".", which no plain one begins with, so that no two texts get one identifier.
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

// Memory is how full a store is: of several nodes, the fullest one.
type Memory struct {
	Used, Max int64  // bytes; Max 0 is no limit
	Policy    string // what is evicted when it is full, such as "volatile-lru"
}
