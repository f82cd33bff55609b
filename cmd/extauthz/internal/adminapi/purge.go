package adminapi

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"extauthz/authz/keyring"
	"extauthz/cmd/extauthz/internal/duration"
)

// purgeBudget is how long one call deletes rows. The caller calls again if there is more
// to delete.
const purgeBudget = 20 * time.Second

// Purge is a request to delete rows that are no longer needed.
type Purge struct {
	DryRun         bool   `json:"dry_run,omitempty" doc:"Count what would be deleted, and change nothing."`
	RevokedFor     string `json:"revoked_for,omitempty" doc:"Delete keys that were revoked at least this long ago, such as 90d or 2160h. At least 1h."`
	ExpiredFor     string `json:"expired_for,omitempty" doc:"Delete keys that expired at least this long ago."`
	AuditOlderThan string `json:"audit_older_than,omitempty" doc:"Delete audit entries of at least this age. At least retention.audit, or 30 days where that is 0s."`
	After          string `json:"after,omitempty" doc:"after of the answer before, where more was true."`
}

// Purged counts the rows that were deleted or, in a dry run, would be.
type Purged struct {
	DryRun          bool      `json:"dry_run"`
	RevokedKeys     int64     `json:"revoked_keys"`
	ExpiredKeys     int64     `json:"expired_keys"`
	AuditEntries    int64     `json:"audit_entries"`
	IdempotencyKeys int64     `json:"idempotency_keys"`
	Usage           int64     `json:"usage"`
	AsOf            time.Time `json:"as_of" doc:"The database's time that ages were counted from."`
	More            bool      `json:"more" doc:"The call's time was over: call again with after."`
	After           string    `json:"after,omitempty"`
}

type purgeInput struct{ Body Purge }

type purgedAnswer struct{ Body Purged }

func (a *api) registerPurge(h huma.API) {
	register(a, h, http.MethodPost, "/v1/purge", operation{tagHistory, keyring.PurgeKeys, "purge-records", "Delete keys that ended long ago and old audit entries; without a duration, what the service deletes by itself", 0, nil},
		func(ctx context.Context, p keyring.Principal, in *purgeInput) (*purgedAnswer, error) {
			f, b := fields{}, in.Body
			r := keyring.PurgeRequest{DryRun: b.DryRun, After: b.After, Budget: purgeBudget,
				RevokedFor:     parse(&f, "revoked_for", b.RevokedFor, retained),
				ExpiredFor:     parse(&f, "expired_for", b.ExpiredFor, retained),
				AuditOlderThan: parse(&f, "audit_older_than", b.AuditOlderThan, retained)}
			if err := f.err(); err != nil {
				return nil, err
			}
			purged, err := a.keys.Purge(ctx, p, r)
			if err != nil {
				return nil, err
			}
			return &purgedAnswer{Purged{DryRun: b.DryRun, RevokedKeys: purged.RevokedKeys, ExpiredKeys: purged.ExpiredKeys, AuditEntries: purged.AuditEntries,
				IdempotencyKeys: purged.IdempotencyKeys, Usage: purged.Usage, AsOf: purged.At, More: purged.More, After: purged.After}}, nil
		})
}

// retained parses a duration over zero; an empty text is 0.
func retained(text string) (time.Duration, error) {
	if text == "" {
		return 0, nil
	}
	return duration.Positive(text)
}
