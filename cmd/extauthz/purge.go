package main

import (
	"fmt"
	"net/http"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"extauthz/cmd/extauthz/internal/adminapi"
)

func purgeCommand(g *globals) *cobra.Command {
	var in adminapi.Purge
	c := &cobra.Command{
		Use: "purge", Short: "Delete keys that ended long ago and old audit entries", Args: noArguments,
		Long: `Delete keys that ended long ago, with their whole rotation family and their usage, and old audit entries.
Without --revoked-for, --expired-for and --audit-older-than it deletes what the service deletes by itself (retention.*).
Administrators' keys stay, and families of which a member is valid. Ctrl-C leaves what was not yet deleted.`,
		Example: "  extauthz purge --dry-run --revoked-for 90d\n  extauthz purge --revoked-for 90d --expired-for 180d --audit-older-than 730d",
		RunE: func(c *cobra.Command, _ []string) error {
			client, err := g.client()
			if err != nil {
				return err
			}
			var total adminapi.Purged
			for more := true; more; {
				var out adminapi.Purged
				if err := client.Call(c.Context(), http.MethodPost, "/v1/purge", nil, in, &out); err != nil {
					if n := sum(total); n > 0 && !in.DryRun {
						return fmt.Errorf("%d rows were deleted before: %w", n, err)
					}
					return err
				}
				total = added(total, out)
				if in.After, more = out.After, out.More; more {
					_, _ = fmt.Fprintf(c.ErrOrStderr(), "%d rows so far\n", sum(total))
				}
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
	c.Flags().BoolVar(&in.DryRun, "dry-run", false, "count what would be deleted, and change nothing")
	c.Flags().StringVar(&in.RevokedFor, "revoked-for", "", "delete keys that were revoked at least so long ago, such as 90d or 2160h")
	c.Flags().StringVar(&in.ExpiredFor, "expired-for", "", "delete keys that expired at least so long ago")
	c.Flags().StringVar(&in.AuditOlderThan, "audit-older-than", "", "delete audit entries that are at least so old")
	return c
}

// added is the sum of two calls.
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
