package cachetest

import (
	"context"
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"
	"time"

	"extauthz/authz"
)

// Population is a database of N keys, of which it holds none in memory.
type Population struct {
	*Connection
	N    int
	Kind KeyKind
}

// KeyKind is the kind of keys of a population.
type KeyKind string

// The kinds of keys.
const (
	// KindReference: 36-byte user id, 20-byte name, 3 scopes (one of a hundred sets), no
	// metadata.
	KindReference KeyKind = "reference"
	KindOwnScopes KeyKind = "own_scopes" // each key's scopes are its own
	KindLarge     KeyKind = "large"      // 10 scopes, and metadata of 60 bytes
)

// Prefix returns the prefix of the ith key.
func (p Population) Prefix(i int) string { return fmt.Sprintf("ak_live_%08d", i) }

// Key returns the ith key.
func (p Population) Key(i int) (authz.Record, authz.Verifier) {
	set, resources, metadata := i%100, []string{"invoices", "orders", "parcels"}, map[string]string(nil)
	switch p.Kind {
	case KindOwnScopes:
		set = i
	case KindLarge:
		resources = []string{"accounts", "baskets", "coupons", "invoices", "labels", "orders", "parcels", "refunds", "stores", "users"}
		metadata = map[string]string{"team": fmt.Sprint("billing ", i), "ticket": fmt.Sprint("OPS-", i), "contact": "someone@example.com"}
	}
	scopes := authz.Scopes{}
	for _, s := range resources {
		scopes = append(scopes, authz.Scope{Resource: fmt.Sprintf("%s/%d", s, set), Actions: []string{strings.Clone("read")}})
	}
	var digest [32]byte
	binary.BigEndian.PutUint64(digest[:], uint64(i)*0x9e3779b97f4a7c15)
	made := time.Date(2026, 1, 2, 3, 4, 5, 678901000, time.UTC).Add(time.Duration(i) * time.Millisecond)
	return authz.Record{
		ID: fmt.Sprintf("01890a5d-ac96-774b-bcce-%012x", i), UserID: fmt.Sprintf("6ba7b810-9dad-41d1-80b4-%012x", i/3),
		Name: fmt.Sprintf("key number %09d", i), Prefix: p.Prefix(i), Scopes: scopes, Active: true, Environment: strings.Clone("live"), Metadata: metadata,
		CreatedAt: made, UpdatedAt: made, Version: uint64(1000 + i),
	}, authz.Verifier{Alg: authz.HashHMACSHA256, PepperID: strings.Clone("0a1b2c3d"), Digest: authz.NewDigest(digest)}
}

// KeyByPrefix finds a key.
func (p Population) KeyByPrefix(_ context.Context, prefix string) (authz.Record, authz.Verifier, error) {
	i, err := strconv.Atoi(strings.TrimPrefix(prefix, "ak_live_"))
	if err != nil || i >= p.N {
		return authz.Record{}, authz.Verifier{}, authz.ErrNotFound
	}
	r, v := p.Key(i)
	return r, v, nil
}

// MostUsed yields the first keys.
func (p Population) MostUsed(_ context.Context, limit int, yield func(authz.Record, authz.Verifier) error) error {
	for i := range min(limit, p.N) {
		if err := yield(p.Key(i)); err != nil {
			return err
		}
	}
	return nil
}

// Prefixes lists all prefixes.
func (p Population) Prefixes(_ context.Context, yield func(string) error) error {
	for i := range p.N {
		if err := yield(p.Prefix(i)); err != nil {
			return err
		}
	}
	return nil
}
