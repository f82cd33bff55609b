package keyring

import (
	"context"
	"errors"
	"fmt"
	"time"

	"extauthz/authz"
)

// Purger deletes rows that have no more use.
type Purger interface {
	// Configured returns what the service deletes by itself.
	Configured() authz.Purge
	Purge(ctx context.Context, p authz.Purge) (authz.Purged, error)
}

const (
	// minAuditRetention is the least age of the audit entries that a request can delete
	// if the service itself keeps them for ever. So no caller can erase recent actions.
	minAuditRetention = 30 * 24 * time.Hour
	// maxRetention is the longest retention that may be set.
	maxRetention = 100 * 365 * 24 * time.Hour
)

// PurgeRequest selects the rows to delete: the kinds whose duration is set. If none is
// set, it selects what the service is configured to delete.
type PurgeRequest struct {
	RevokedFor, ExpiredFor, AuditOlderThan time.Duration

	DryRun bool
	After  string        // Purged.After of the previous call
	Budget time.Duration // after which the call returns with what it has done so far
}

// Purge deletes rows that have no more use, or counts them. The principal has to be
// allowed to act in all projects. Audit entries are kept at least as long as the service
// itself keeps them, or 30 days if it keeps them for ever. Counts that are returned with
// an error are those of rows that were deleted.
func (s *Service) Purge(ctx context.Context, p Principal, r PurgeRequest) (authz.Purged, error) {
	if err := p.Require(PurgeKeys); err != nil {
		return authz.Purged{}, err
	}
	if !p.everywhere() {
		return authz.Purged{}, fmt.Errorf("%w: you may not act in all projects", ErrForbidden)
	}
	if s.purger == nil {
		return authz.Purged{}, errors.New("purge: nothing deletes rows here")
	}
	purge, err := r.purge(s.purger.Configured())
	if err != nil {
		return authz.Purged{}, err
	}
	if purge.AuditEntries > 0 {
		if err := p.Require(PurgeAudit); err != nil {
			return authz.Purged{}, err
		}
	}
	purge.By = authz.AuditEntry{Actor: p.Actor(), ActorName: p.Name, RequestID: p.RequestID, Source: p.Source}
	return s.purger.Purge(ctx, purge)
}

// purge checks the request against the configuration.
func (r PurgeRequest) purge(configured authz.Purge) (authz.Purge, error) {
	purge := authz.Purge{RevokedKeys: r.RevokedFor, ExpiredKeys: r.ExpiredFor, AuditEntries: r.AuditOlderThan}
	if r.RevokedFor == 0 && r.ExpiredFor == 0 && r.AuditOlderThan == 0 {
		purge = configured
	} else {
		audit := max(configured.AuditEntries, authz.MinRetention)
		if configured.AuditEntries == 0 {
			audit = minAuditRetention
		}
		v := &Problems{}
		for _, f := range []struct {
			name        string
			kept, least time.Duration
		}{{"revoked_for", r.RevokedFor, authz.MinRetention}, {"expired_for", r.ExpiredFor, authz.MinRetention}, {"audit_older_than", r.AuditOlderThan, audit}} {
			if f.kept != 0 && (f.kept < f.least || f.kept > maxRetention) {
				v.Add(f.name, "must be at least %v, and at most 100 years", f.least)
			}
		}
		if err := v.Err(); err != nil {
			return purge, err
		}
	}
	purge.DryRun, purge.After, purge.Budget = r.DryRun, r.After, r.Budget
	return purge, nil
}
