package main

import (
	"cmp"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"extauthz/cmd/extauthz/internal/adminapi"
	"extauthz/cmd/extauthz/internal/printer"
)

// keyListing describes the table of keys. Without its wide columns the table fits a
// terminal of 80 columns.
func keyListing(g *globals) *listing[adminapi.Key] {
	type key = adminapi.Key
	text := func(name string, read func(*key) string) printer.Column[key] {
		return printer.Column[key]{Name: name, Wide: true, Text: read}
	}
	short := func(name string, least int, read func(*key) string) printer.Column[key] {
		return printer.Column[key]{Name: name, MinWidth: least, Text: read}
	}
	status := short("status", 0, func(k *key) string { return k.Status })
	status.Color = func(k *key) printer.Color { return statusColor(k.Status) }
	used := text("used", func(k *key) string {
		if k.Usage == nil {
			return ""
		}
		return strconv.FormatUint(k.Usage.Count, 10)
	})
	used.Compare = func(a, b *key) int { return cmp.Compare(uses(a), uses(b)) }
	return &listing[key]{
		name: func(k *key) string { return k.Prefix },
		columns: []printer.Column[key]{
			short("prefix", 0, func(k *key) string { return k.Prefix }),
			short("user", 8, func(k *key) string { return k.UserID }),
			short("name", 8, func(k *key) string { return k.Name }),
			status,
			timeColumn(g, "expires", "never", false, func(k *key) *time.Time { return k.ExpiresAt }),
			timeColumn(g, "created", "-", false, func(k *key) *time.Time { return &k.CreatedAt }),
			short("scopes", 8, func(k *key) string { return strings.Join(slices.Concat(k.Scopes, k.Roles), " ") }),
			text("environment", func(k *key) string { return k.Environment }),
			text("project", func(k *key) string { return k.Project }),
			text("rate", func(k *key) string { return k.Rate }),
			text("networks", func(k *key) string { return strings.Join(k.AllowedCIDRs, " ") }),
			timeColumn(g, "revoked", "-", true, func(k *key) *time.Time { return k.RevokedAt }),
			used,
			timeColumn(g, "last-used", "-", true, func(k *key) *time.Time {
				if k.Usage == nil {
					return nil
				}
				return k.Usage.LastUsedAt
			}),
			text("id", func(k *key) string { return k.ID }),
		},
	}
}

// uses returns how often a key was used, or 0 if the usage was not requested.
func uses(k *adminapi.Key) uint64 {
	if k.Usage == nil {
		return 0
	}
	return k.Usage.Count
}

func statusColor(status string) printer.Color {
	switch status {
	case "active":
		return printer.Good
	case "disabled":
		return printer.Doubt
	}
	return printer.Bad
}

func keysList(g *globals) *cobra.Command {
	var user, project, text, unused string
	var active, usage bool
	l := keyListing(g)
	c := &cobra.Command{
		Use: "list", Short: "List keys, newest first", Args: noArguments,
		Example: "  extauthz keys list --user alice --active\n  extauthz keys list --unused-for 90d -o json\n  extauthz keys list --sort expires --limit 20",
		RunE: func(c *cobra.Command, _ []string) error {
			q := given(map[string]string{"user_id": user, "project": project, "q": text, "unused_for": unused})
			if active {
				q.Set("active", "true")
			}
			if usage || sortedByUse(l.sort) {
				q.Set("usage", "true")
			}
			keys, err := l.read(c, g, "/v1/keys", q)
			if err != nil {
				return err
			}
			return l.show(c, g, keys)
		},
	}
	userFlag(c, g, &user, "only of this user")
	f := c.Flags()
	f.StringVar(&project, "project", "", "only of this project")
	f.StringVar(&text, "search", "", "only those whose prefix, name (in any case) or user begins with this; in that order")
	f.BoolVar(&active, "active", false, "only active keys")
	durationFlag(f, &unused, "unused-for", "only keys that are older than this and were not used in this time, such as 90d")
	f.BoolVar(&usage, "usage", false, "with usage (in all forms but table)")
	return l.flags(c)
}

// sortedByUse reports whether an order needs the keys' usage.
func sortedByUse(by string) bool {
	name := strings.TrimPrefix(by, "-")
	return name == "used" || name == "last-used"
}

// given returns a query of those parameters that have a value.
func given(parameters map[string]string) url.Values {
	q := url.Values{}
	for name, value := range parameters {
		if value != "" {
			q.Set(name, value)
		}
	}
	return q
}
