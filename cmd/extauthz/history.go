package main

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"extauthz/cmd/extauthz/internal/adminapi"
	"extauthz/cmd/extauthz/internal/duration"
	"extauthz/cmd/extauthz/internal/printer"
)

func usageCommand(g *globals) *cobra.Command {
	type used = adminapi.Usage
	var user, key string
	l := &listing[used]{
		name: func(u *used) string { return u.KeyID },
		columns: []printer.Column[used]{
			{Name: "key", Text: func(u *used) string { return u.KeyID }},
			numberColumn("count", func(u *used) int64 { return int64(u.Count) }),
			timeColumn(g, "last-used", "never", false, func(u *used) *time.Time { return u.LastUsedAt }),
		},
	}
	c := &cobra.Command{
		Use: "usage", Short: "List the usage of keys", Args: noArguments, Example: "  extauthz usage --user alice\n  extauthz usage --sort -count --limit 10",
		RunE: func(c *cobra.Command, _ []string) error {
			list, err := l.read(c, g, "/v1/usage", given(map[string]string{"user_id": user, "key_id": key}))
			if err != nil {
				return err
			}
			return l.show(c, g, list)
		},
	}
	userFlag(c, g, &user, "only of this user")
	keyFlag(c, g, &key, "only of this key, by id or prefix")
	return l.flags(c)
}

func auditCommand(g *globals) *cobra.Command {
	var user, key, since string
	l := auditListing(g)
	c := &cobra.Command{
		Use: "audit", Short: "List who changed what, newest first", Args: noArguments,
		Example: "  extauthz audit --since 24h\n  extauthz audit --key 0198c0de-… --limit 20 -o wide",
		RunE: func(c *cobra.Command, _ []string) error {
			list, err := l.read(c, g, "/v1/audit", given(map[string]string{"user_id": user, "key_id": key, "since": since}))
			if err != nil {
				return err
			}
			return l.show(c, g, list)
		},
	}
	userFlag(c, g, &user, "only about this user's keys")
	keyFlag(c, g, &key, "only about this key, by id or prefix")
	c.Flags().Var(&checked{&since, "time", func(text string) error {
		_, err := duration.Ago(text, time.Now())
		return err
	}}, "since", "only from this time on: a duration before now such as 24h or 30d, or RFC 3339")
	return l.flags(c)
}

func auditListing(g *globals) *listing[adminapi.AuditEntry] {
	type entry = adminapi.AuditEntry
	text := func(name string, wide bool, least int, read func(*entry) string) printer.Column[entry] {
		return printer.Column[entry]{Name: name, Wide: wide, MinWidth: least, Text: read}
	}
	return &listing[entry]{
		name: func(e *entry) string { return e.ID },
		columns: []printer.Column[entry]{
			timeColumn(g, "time", "-", false, func(e *entry) *time.Time { return &e.At }),
			text("actor", false, 8, func(e *entry) string { return e.ActorName }),
			text("action", false, 0, func(e *entry) string { return e.Action }),
			text("on", false, 16, auditTarget),
			text("user", false, 6, func(e *entry) string { return e.UserID }),
			text("changed", false, 18, func(e *entry) string { return changes(e.Detail) }),
			text("actor-id", true, 0, func(e *entry) string { return e.Actor }),
			text("key-id", true, 0, func(e *entry) string { return e.KeyID }),
			text("source", true, 0, func(e *entry) string { return e.Source }),
			text("request", true, 0, func(e *entry) string { return e.RequestID }),
			text("id", true, 0, func(e *entry) string { return e.ID }),
		},
	}
}

// auditTarget returns the key, the role or the administrator that was changed.
func auditTarget(e *adminapi.AuditEntry) string {
	switch {
	case e.Administrator != "":
		return "admin " + e.Detail["administrator"]
	case e.Prefix == "" && e.Role != "":
		return "role " + e.Role
	}
	return e.Prefix
}

// important lists the details that readers look for first.
var important = []string{"reason", "name", "scopes", "roles", "expires_at", "revoked_at", "rate"}

// changes lists the details of a change in a fixed order, such as rate=10/s -> 20/s. A
// field that had no value before is written without the arrow: name=laptop.
func changes(detail map[string]string) string {
	names := slices.SortedFunc(maps.Keys(detail), func(a, b string) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(a, b))
	})
	for i, name := range names {
		names[i] = name + "=" + strings.TrimPrefix(detail[name], " -> ")
	}
	return strings.Join(names, ", ")
}

// rank returns a detail's position among the important ones; all other details come after
// them.
func rank(name string) int {
	if i := slices.Index(important, name); i >= 0 {
		return i
	}
	return len(important)
}
