package main

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"extauthz/cmd/extauthz/internal/adminapi"
	"extauthz/cmd/extauthz/internal/printer"
)

func rolesCommand(g *globals) *cobra.Command {
	return group("roles", "Named sets of scopes that many keys share", roleWrite(g, http.MethodPost), rolesList(g), roleGet(g), roleWrite(g, http.MethodPatch), roleDelete(g))
}

func rolePath(name string) string { return "/v1/roles/" + url.PathEscape(name) }

func (g *globals) describeRole(r *adminapi.Role) func(*tabwriter.Writer) {
	return func(w *tabwriter.Writer) {
		row(w, "name", r.Name)
		row(w, "description", r.Description)
		row(w, "scopes", strings.Join(r.Scopes, " "))
		row(w, "updated", g.when(&r.UpdatedAt, "-"))
	}
}

// roleWrite makes the commands create and update.
func roleWrite(g *globals, method string) *cobra.Command {
	var description string
	var scopes []string
	use, short, path := "create NAME --scope RESOURCE:ACTION…", "Create a role", func(string) string { return "/v1/roles" }
	if method == http.MethodPatch {
		use, short, path = "update NAME", "Change a role, at once for all keys that have it", rolePath
	}
	c := named(&cobra.Command{
		Use: use, Short: short, Args: exactly(1), Example: "  extauthz roles " + strings.Fields(use)[0] + " reader --scope orders:read --scope invoices:read",
		RunE: func(c *cobra.Command, args []string) error {
			in := map[string]any{}
			if method == http.MethodPost {
				in["name"], in["scopes"] = args[0], append([]string{}, scopes...)
			}
			if c.Flags().Changed("scope") {
				in["scopes"] = scopes
			}
			if c.Flags().Changed("description") {
				in["description"] = description
			}
			r, err := call[adminapi.Role](c, g, method, path(args[0]), nil, in)
			if err != nil {
				return err
			}
			return g.showNamed(c, r, r.Name, g.describeRole(&r))
		},
	})
	if method == http.MethodPatch {
		c.ValidArgsFunction = g.completeRole
	}
	c.Flags().StringArrayVar(&scopes, "scope", nil, "resource:action; several allowed, which replace all existing ones")
	c.Flags().StringVar(&description, "description", "", "for people")
	return c
}

func roleListing(g *globals) *listing[adminapi.Role] {
	type role = adminapi.Role
	scopes := func(r *role) string {
		if r.Unreadable != "" {
			return "unreadable: " + r.Unreadable
		}
		return strings.Join(r.Scopes, " ")
	}
	return &listing[role]{
		name: func(r *role) string { return r.Name },
		columns: []printer.Column[role]{
			{Name: "name", MinWidth: 16, Text: func(r *role) string { return r.Name }},
			{Name: "scopes", MinWidth: 24, Text: scopes},
			{Name: "description", MinWidth: 16, Text: func(r *role) string { return r.Description }},
			timeColumn(g, "created", "-", true, func(r *role) *time.Time { return &r.CreatedAt }),
			timeColumn(g, "updated", "-", false, func(r *role) *time.Time { return &r.UpdatedAt }),
		},
	}
}

func rolesList(g *globals) *cobra.Command {
	l := roleListing(g)
	return l.flags(&cobra.Command{
		Use: "list", Short: "List roles", Args: noArguments, Example: "  extauthz roles list\n  extauthz roles list --sort -updated --limit 10",
		RunE: func(c *cobra.Command, _ []string) error {
			roles, err := l.read(c, g, "/v1/roles", url.Values{})
			if err != nil {
				return err
			}
			return l.show(c, g, roles)
		},
	})
}

func roleGet(g *globals) *cobra.Command {
	return named(&cobra.Command{
		Use: "get NAME", Short: "Show a role", Args: exactly(1), Example: "  extauthz roles get reader", ValidArgsFunction: g.completeRole,
		RunE: func(c *cobra.Command, args []string) error {
			r, err := call[adminapi.Role](c, g, http.MethodGet, rolePath(args[0]), nil, nil)
			if err != nil {
				return err
			}
			return g.showNamed(c, r, r.Name, g.describeRole(&r))
		},
	})
}

func roleDelete(g *globals) *cobra.Command {
	var leave consent
	c := &cobra.Command{
		Use: "delete NAME", Short: "Delete a role; it grants nothing from now on", Args: exactly(1), Example: "  extauthz roles delete reader",
		Long: `Delete a role; it grants nothing from now on. On a terminal it shows how many keys have the role, and asks; elsewhere it
needs --yes where more than one key has it.`,
		ValidArgsFunction: g.completeRole,
		RunE: func(c *cobra.Command, args []string) error {
			if err := g.confirmRoleDeletion(c, &leave, args[0]); err != nil {
				return err
			}
			client, err := g.client()
			if err != nil {
				return err
			}
			return client.Call(c.Context(), http.MethodDelete, rolePath(args[0]), nil, nil, nil)
		},
	}
	leave.flag(c)
	return c
}

// counting limits how many keys are read to count those that have a role.
const counting = 10_000

func (g *globals) confirmRoleDeletion(c *cobra.Command, leave *consent, role string) error {
	if leave.yes {
		return nil
	}
	if _, err := call[adminapi.Role](c, g, http.MethodGet, rolePath(role), nil, nil); err != nil {
		return err
	}
	having, read := 0, 0
	err := pages(c, g, "/v1/keys", url.Values{"limit": {"1000"}}, func(keys []adminapi.Key) bool {
		for i := range keys {
			if keys[i].RevokedAt == nil && slices.Contains(keys[i].Roles, role) {
				having++
			}
		}
		read += len(keys)
		return read < counting
	})
	if err != nil {
		return fmt.Errorf("the keys with the role %s can't be counted: %w: give --yes to delete it without that", role, err)
	}
	what := fmt.Sprintf("this deletes the role %s, which %s %s", role, counted(having, "key"), map[bool]string{true: "has", false: "have"}[having == 1])
	if read >= counting {
		what += fmt.Sprintf(" of the newest %d", read)
	}
	return leave.confirm(c, having > 1 || read >= counting, what)
}
