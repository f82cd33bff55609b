package keyring

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"extauthz/authz"
	"extauthz/authz/subject"
)

// Get returns the key that ref, an id or a prefix, names. The error is authz.ErrNotFound
// also if the principal may not see the key.
func (s *Service) Get(ctx context.Context, p Principal, ref string) (authz.Record, error) {
	if err := p.Require(ReadKeys); err != nil {
		return authz.Record{}, err
	}
	return s.find(ctx, p, ref)
}

// List returns a page of the keys that filter selects and the principal may see. It sets
// filter.Projects and filter.Now itself. A filter.Limit of 0 means DefaultLimit.
// filter.WithUsage and filter.UnusedSince require ReadUsage too.
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
		// An empty list must not reach the filter as nil, which means every project.
		if len(filter.Projects) == 0 {
			return nil, nil
		}
	}
	if s.lists != nil && wholeUser(filter) {
		return s.listUser(ctx, p, filter)
	}
	return s.store.ListKeys(ctx, filter)
}

// wholeUser reports whether a filter selects just a page of a user's keys, so that the
// cached list can answer it. Usage is never cached. The list of a user whose id may be
// stored in several forms is not cached either, since a change names only one of them.
func wholeUser(f authz.KeyFilter) bool {
	return f.UserID != "" && len(subject.Forms(f.UserID)) == 1 && f.Project == "" && !f.ActiveOnly && f.UnusedSince.IsZero() && f.Text == "" && !f.WithUsage
}

// errNotCached keeps a list from being cached if the row of one of its keys can't be
// read. So the list is right as soon as the row is repaired.
var errNotCached = errors.New("a key of the user can't be read")

// listUser takes the page from the cached list of all keys of the user. If the user has
// MaxLimit keys or more, the page is read from the store.
func (s *Service) listUser(ctx context.Context, p Principal, filter authz.KeyFilter) ([]authz.Listed, error) {
	all, err := s.lists.UserKeys(ctx, filter.UserID, func(ctx context.Context) ([]authz.Record, error) {
		listed, err := s.store.ListKeys(ctx, authz.KeyFilter{UserID: filter.UserID, Limit: MaxLimit, Now: filter.Now})
		records := make([]authz.Record, len(listed))
		for i := range listed {
			if records[i] = listed[i].Record; listed[i].Unreadable != "" {
				return nil, errNotCached
			}
		}
		return records, err
	})
	if err != nil && !errors.Is(err, errNotCached) {
		return nil, err
	}
	if err != nil || len(all) >= MaxLimit {
		return s.store.ListKeys(ctx, filter)
	}
	page := make([]authz.Listed, 0, min(filter.Limit, len(all)))
	for i := range all {
		if len(page) == filter.Limit {
			break
		}
		if (filter.After == "" || all[i].ID < filter.After) && (p.everywhere() || p.within(all[i].Project)) {
			page = append(page, authz.Listed{Record: all[i]})
		}
	}
	return page, nil
}

// Usage returns the usage of each named key (id or prefix), in that order. A key that was
// never used has a count of 0. At most MaxLimit keys may be named.
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
