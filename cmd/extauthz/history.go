package main

import (
	"net/url"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"extauthz/cmd/extauthz/internal/adminapi"
)

func usageCommand(g *globals) *cobra.Command {
	var user, key string
	c := &cobra.Command{
		Use: "usage", Short: "How keys were used", Args: noArguments, Example: "  extauthz usage --user alice",
		RunE: func(c *cobra.Command, _ []string) error {
			q := url.Values{}
			if user != "" {
				q.Set("user_id", user)
			}
			if key != "" {
				q.Set("key_id", key)
			}
			list, err := all[adminapi.Usage](c, g, "/v1/usage", q)
			if err != nil {
				return err
			}
			return g.show(c, list, func(w *tabwriter.Writer) {
				row(w, "KEY", "COUNT", "LAST USED")
				for _, u := range list {
					row(w, u.KeyID, u.Count, when(u.LastUsedAt, "never"))
				}
			})
		},
	}
	c.Flags().StringVar(&user, "user", "", "only of this user")
	c.Flags().StringVar(&key, "key", "", "only of this key, by id or prefix")
	return c
}

func auditCommand(g *globals) *cobra.Command {
	var user, key, since string
	c := &cobra.Command{
		Use: "audit", Short: "Who changed what, newest first", Args: noArguments, Example: "  extauthz audit --key 0198c0de-…",
		RunE: func(c *cobra.Command, _ []string) error {
			q := url.Values{}
			for name, value := range map[string]string{"user_id": user, "key_id": key, "since": since} {
				if value != "" {
					q.Set(name, value)
				}
			}
			list, err := all[adminapi.AuditEntry](c, g, "/v1/audit", q)
			if err != nil {
				return err
			}
			return g.show(c, list, func(w *tabwriter.Writer) {
				row(w, "TIME", "ACTOR", "ACTION", "KEY", "USER", "ROLE", "DETAIL")
				for _, e := range list {
					row(w, when(&e.At, "-"), e.ActorName, e.Action, e.Prefix, e.UserID, e.Role, e.Detail)
				}
			})
		},
	}
	c.Flags().StringVar(&user, "user", "", "only about this user's keys")
	c.Flags().StringVar(&key, "key", "", "only about this key, by id")
	c.Flags().StringVar(&since, "since", "", "only from this RFC 3339 time on")
	return c
}
