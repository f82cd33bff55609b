package cachesvc

import (
	"context"

	"extauthz/authz"
)

// credential is what is known of one key, and what proves it.
type credential struct {
	record   authz.Record
	verifier authz.Verifier
}

// Lookup finds the key with this prefix; a nil Record means that there is none.
// An error means that nobody could be asked, or ctx's end. The prefix may be
// borrowed. Safe for concurrent use; a hit does not allocate.
func (s *Service) Lookup(ctx context.Context, prefix string) (authz.Entry, error) {
	v, layer, err := s.keys.get(ctx, prefix)
	if err != nil {
		return authz.Entry{}, err
	}
	if !v.found {
		return authz.Entry{Layer: layer}, nil
	}
	return authz.Entry{Record: &v.data.record, Verifier: v.data.verifier, Layer: layer}, nil
}

// loadKey is one look-up in the database.
func loadKey(db Keys) func(context.Context, string) (credential, uint64, error) {
	return func(ctx context.Context, prefix string) (credential, uint64, error) {
		record, verifier, err := db.KeyByPrefix(ctx, prefix)
		return credential{record, verifier}, record.Version, err
	}
}
