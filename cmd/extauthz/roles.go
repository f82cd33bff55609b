package main

import (
	"net/http"
	"net/url"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"extauthz/cmd/extauthz/internal/adminapi"
)

func rolesCommand(g *globals) *cobra.Command {
	return group("roles", "Named sets of scopes that many keys share", roleWrite(g, http.MethodPost), rolesList(g), roleGet(g), roleWrite(g, http.MethodPatch), roleDelete(g))
}

func rolePath(name string) string { return "/v1/roles/" + url.PathEscape(name) }

func describeRole(r *adminapi.Role) func(*tabwriter.Writer) {
	return func(w *tabwriter.Writer) {
		row(w, "name", r.Name)
		row(w, "description", r.Description)
		row(w, "scopes", strings.Join(r.Scopes, " "))
		row(w, "updated", when(&r.UpdatedAt, "-"))
	}
}

// roleWrite is create and update.
func roleWrite(g *globals, method string) *cobra.Command {
	var description string
	var scopes []string
	use, short, path := "create NAME --scope RESOURCE:ACTION…", "Make a role", func(string) string { return "/v1/roles" }
	if method == http.MethodPatch {
		use, short, path = "update NAME", "Change a role; it holds for all its keys at once", rolePath
	}
	c := &cobra.Command{
		Use: use, Short: short, Args: exactly(1), Example: "  extauthz roles " + strings.Fields(use)[0] + " reader --scope orders:read --scope invoices:read",
		RunE: func(c *cobra.Command, args []string) error {
			client, err := g.client()
			if err != nil {
				return err
			}
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
			var r adminapi.Role
			if err := client.Call(c.Context(), method, path(args[0]), nil, in, &r); err != nil {
				return err
			}
			return g.show(c, r, describeRole(&r))
		},
	}
	c.Flags().StringArrayVar(&scopes, "scope", nil, "resource:action; several allowed, in place of all that was there")
	c.Flags().StringVar(&description, "description", "", "for people")
	return c
}

func rolesList(g *globals) *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List roles", Args: noArguments, Example: "  extauthz roles list",
		RunE: func(c *cobra.Command, _ []string) error {
			roles, err := all[adminapi.Role](c, g, "/v1/roles", url.Values{})
			if err != nil {
				return err
			}
			return g.show(c, roles, func(w *tabwriter.Writer) {
				row(w, "NAME", "SCOPES", "DESCRIPTION")
				for _, r := range roles {
					scopes := strings.Join(r.Scopes, " ")
					if r.Unreadable != "" {
						scopes = "unreadable: " + r.Unreadable
					}
					row(w, r.Name, scopes, r.Description)
				}
			})
		},
	}
}

func roleGet(g *globals) *cobra.Command {
	return &cobra.Command{
		Use: "get NAME", Short: "Show a role", Args: exactly(1), Example: "  extauthz roles get reader",
		RunE: func(c *cobra.Command, args []string) error {
			client, err := g.client()
			if err != nil {
				return err
			}
			var r adminapi.Role
			if err := client.Call(c.Context(), http.MethodGet, rolePath(args[0]), nil, nil, &r); err != nil {
				return err
			}
			return g.show(c, r, describeRole(&r))
		},
	}
}

func roleDelete(g *globals) *cobra.Command {
	return &cobra.Command{
		Use: "delete NAME", Short: "Delete a role; it grants nothing from now on", Args: exactly(1), Example: "  extauthz roles delete reader",
		RunE: func(c *cobra.Command, args []string) error {
			client, err := g.client()
			if err != nil {
				return err
			}
			return client.Call(c.Context(), http.MethodDelete, rolePath(args[0]), nil, nil, nil)
		},
	}
}
