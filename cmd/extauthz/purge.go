package main

import (
	"fmt"
	"net/http"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"extauthz/cmd/extauthz/internal/adminapi"
	"extauthz/cmd/extauthz/internal/printer"
)

func purgeCommand(g *globals) *cobra.Command {
	var in adminapi.Purge
	var leave consent
	c := &cobra.Command{
		Use: "purge", Short: "Delete keys that ended long ago and old audit entries", Args: noArguments,
		Long: `Delete keys that ended long ago, with their whole rotation family and their usage, and old audit entries.
Without --revoked-for, --expired-for and --audit-older-than it deletes what the service deletes by itself (retention.*).
Administrators' keys are kept, and families with a valid member. Ctrl-C stops it, and keeps the rows that are not yet deleted.
On a terminal it shows the number of rows and asks; elsewhere it needs --yes if there are any.`,
		Example: "  extauthz purge --dry-run --revoked-for 90d\n  extauthz purge --revoked-for 90d --expired-for 180d --audit-older-than 730d --yes",
		RunE: func(c *cobra.Command, _ []string) error {
			if !in.DryRun {
				if err := g.confirmPurge(c, &leave, in); err != nil {
					return err
				}
			}
			total, err := g.purge(c, in)
			if err != nil {
				return err
			}
			return g.show(c, total, func(w *tabwriter.Writer) {
				head := "DELETED"
				if total.DryRun {
					head = "WOULD BE DELETED"
				}
				row(w, "KIND", head)
				row(w, "revoked keys", total.RevokedKeys)
				row(w, "expired keys", total.ExpiredKeys)
				row(w, "audit entries", total.AuditEntries)
				row(w, "idempotency keys", total.IdempotencyKeys)
				row(w, "usage", total.Usage)
			})
		},
	}
	f := c.Flags()
	f.BoolVar(&in.DryRun, "dry-run", false, "count what would be deleted, and change nothing")
	durationFlag(f, &in.RevokedFor, "revoked-for", "delete keys that were revoked at least this long ago, such as 90d")
	durationFlag(f, &in.ExpiredFor, "expired-for", "delete keys that expired at least this long ago")
	durationFlag(f, &in.AuditOlderThan, "audit-older-than", "delete audit entries of at least this age")
	leave.flag(c)
	return c
}

// confirmPurge counts what would be deleted, and asks.
func (g *globals) confirmPurge(c *cobra.Command, leave *consent, in adminapi.Purge) error {
	if leave.yes {
		return nil
	}
	in.DryRun = true
	counts, err := g.purge(c, in)
	if err != nil || sum(counts) == 0 {
		return err
	}
	return leave.confirm(c, true, fmt.Sprintf("this deletes for good: %s, %s, %s and what belongs to them", counted(counts.RevokedKeys, "revoked key"),
		counted(counts.ExpiredKeys, "expired key"), counted(counts.AuditEntries+counts.IdempotencyKeys+counts.Usage, "other row")))
}

// purge calls the API again and again until nothing is left to delete.
func (g *globals) purge(c *cobra.Command, in adminapi.Purge) (total adminapi.Purged, err error) {
	title := "deleted"
	if in.DryRun {
		title = "counted"
	}
	progress := printer.NewProgress(c.ErrOrStderr(), "rows")
	defer progress.End()
	for more := true; more; {
		out, err := call[adminapi.Purged](c, g, http.MethodPost, "/v1/purge", nil, in)
		if err != nil {
			if n := sum(total); n > 0 && !in.DryRun {
				return total, fmt.Errorf("%s were deleted before: %w", counted(n, "row"), err)
			}
			return total, err
		}
		total = added(total, out)
		if in.After, more = out.After, out.More; more {
			progress.Set(title, sum(total), 0)
		}
	}
	return total, nil
}

// added returns the sum of the counts of two calls.
func added(a, b adminapi.Purged) adminapi.Purged {
	b.RevokedKeys += a.RevokedKeys
	b.ExpiredKeys += a.ExpiredKeys
	b.AuditEntries += a.AuditEntries
	b.IdempotencyKeys += a.IdempotencyKeys
	b.Usage += a.Usage
	return b
}

func sum(p adminapi.Purged) int64 {
	return p.RevokedKeys + p.ExpiredKeys + p.AuditEntries + p.IdempotencyKeys + p.Usage
}
