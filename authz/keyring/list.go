package keyring

import (
	"context"
	"fmt"
	"slices"

	"extauthz/authz"
)

// Get returns the key that ref, an id or a prefix, names; authz.ErrNotFound
// also where the principal does not see it.
func (s *Service) Get(ctx context.Context, p Principal, ref string) (authz.Record, error) {
	if err := p.Require(ReadKeys); err != nil {
		return authz.Record{}, err
	}
	return s.find(ctx, p, ref)
}

// List returns a page of the keys that the principal sees and filter chooses.
// filter.Projects and filter.Now are set here; filter.Limit 0 means
// DefaultLimit. filter.WithUsage and filter.UnusedSince ask for ReadUsage too.
func (s *Service) List(ctx context.Context, p Principal, filter authz.KeyFilter) ([]authz.Listed, error) {
	if err := p.Require(ReadKeys); err != nil {
		return nil, err
	}
	if filter.WithUsage || !filter.UnusedSince.IsZero() {
		if err := p.Require(ReadUsage); err != nil {
			return nil, err
		}
	}
	var err error
	if filter.Limit, err = pageLimit(filter.Limit); err != nil {
		return nil, err
	}
	filter.Now = s.now()
	filter.Projects = nil
	if !p.everywhere() {
		filter.Projects = slices.DeleteFunc(slices.Clone(p.Grants.Projects), func(project string) bool { return !p.within(project) })
		// No project at all must not become the filter's nil, which is every one.
		if len(filter.Projects) == 0 {
			return nil, nil
		}
	}
	return s.store.ListKeys(ctx, filter)
}

// Usage returns the usage of each named key (id or prefix), in that order; one
// that was never used has a count of 0. At most MaxLimit keys.
func (s *Service) Usage(ctx context.Context, p Principal, refs []string) ([]authz.Usage, error) {
	if err := p.Require(ReadUsage); err != nil {
		return nil, err
	}
	if len(refs) > MaxLimit {
		return nil, &ValidationError{[]FieldError{{"keys", fmt.Sprintf("must be at most %d", MaxLimit)}}}
	}
	if len(refs) == 0 {
		return nil, nil
	}
	ids := make([]string, len(refs))
	for i, ref := range refs {
		rec, err := s.find(ctx, p, ref)
		if err != nil {
			return nil, err
		}
		ids[i] = rec.ID
	}
	found, err := s.store.Usage(ctx, sortedSet(ids))
	if err != nil {
		return nil, err
	}
	byID := make(map[string]authz.Usage, len(found))
	for _, u := range found {
		byID[u.KeyID] = u
	}
	usage := make([]authz.Usage, len(ids))
	for i, id := range ids {
		usage[i] = byID[id]
		usage[i].KeyID = id
	}
	return usage, nil
}
