package main

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"extauthz/cmd/extauthz/internal/adminapi"
	"extauthz/cmd/extauthz/internal/printer"
)

func adminRolesCommand(g *globals) *cobra.Command {
	return group("roles", "Management roles: named sets of permissions", adminRolesList(g), adminRoleGet(g), adminRoleCreate(g), adminRoleUpdate(g), adminRoleDelete(g))
}

func adminRolePath(name string) string { return "/v1/administrator-roles/" + url.PathEscape(name) }

func (g *globals) showAdminRole(c *cobra.Command, r *adminapi.AdministratorRole) error {
	return g.showNamed(c, r, r.Name, func(w *tabwriter.Writer) {
		row(w, "name", r.Name)
		row(w, "description", r.Description)
		row(w, "permissions", strings.Join(r.Permissions, " "))
		if r.BuiltIn {
			row(w, "built in", "it can't be changed")
		}
	})
}

func adminRolesList(g *globals) *cobra.Command {
	type role = adminapi.AdministratorRole
	l := &listing[role]{
		name: func(r *role) string { return r.Name },
		columns: []printer.Column[role]{
			{Name: "name", MinWidth: 12, Text: func(r *role) string { return r.Name }},
			{Name: "permissions", MinWidth: 24, Text: func(r *role) string { return strings.Join(r.Permissions, " ") }},
			{Name: "description", MinWidth: 16, Text: func(r *role) string { return r.Description }},
		},
	}
	return l.flags(&cobra.Command{
		Use: "list", Short: "List management roles", Args: noArguments, Example: "  extauthz admins roles list -o wide",
		RunE: func(c *cobra.Command, _ []string) error {
			page, err := call[adminapi.Page[role]](c, g, http.MethodGet, "/v1/administrator-roles", nil, nil)
			if err != nil {
				return err
			}
			return l.show(c, g, page.Items)
		},
	})
}

func adminRoleGet(g *globals) *cobra.Command {
	return named(&cobra.Command{
		Use: "get NAME", Short: "Show a management role", Args: exactly(1), Example: "  extauthz admins roles get support", ValidArgsFunction: g.completeAdminRole,
		RunE: func(c *cobra.Command, args []string) error {
			r, err := call[adminapi.AdministratorRole](c, g, http.MethodGet, adminRolePath(args[0]), nil, nil)
			if err != nil {
				return err
			}
			return g.showAdminRole(c, &r)
		},
	})
}

func adminRoleCreate(g *globals) *cobra.Command {
	var in adminapi.NewAdministratorRole
	c := named(&cobra.Command{
		Use: "create NAME --permission PERMISSION…", Short: "Create a management role", Args: exactly(1),
		Example: "  extauthz admins roles create revoker --permission extauthz/keys:read --permission extauthz/keys:revoke",
		RunE: func(c *cobra.Command, args []string) error {
			in.Name = args[0]
			r, err := call[adminapi.AdministratorRole](c, g, http.MethodPost, "/v1/administrator-roles", nil, in)
			if err != nil {
				return err
			}
			return g.showAdminRole(c, &r)
		},
	})
	c.Flags().StringArrayVar(&in.Permissions, "permission", nil, "permission such as extauthz/keys:read; several allowed")
	c.Flags().StringVar(&in.Description, "description", "", "for people")
	required(c, "permission")
	return c
}

func adminRoleUpdate(g *globals) *cobra.Command {
	var permissions []string
	var description string
	c := named(&cobra.Command{
		Use: "update NAME", Short: "Change a management role, at once for all administrators that have it", Args: exactly(1),
		Example: "  extauthz admins roles update revoker --permission extauthz/keys:read", ValidArgsFunction: g.completeAdminRole,
		RunE: func(c *cobra.Command, args []string) error {
			var patch adminapi.AdministratorRolePatch
			set(c.Flags().Changed("permission"), &patch.Permissions, permissions)
			set(c.Flags().Changed("description"), &patch.Description, description)
			if patch == (adminapi.AdministratorRolePatch{}) {
				return usage(c, errors.New("nothing to change: give at least one flag"))
			}
			r, err := call[adminapi.AdministratorRole](c, g, http.MethodPatch, adminRolePath(args[0]), nil, patch)
			if err != nil {
				return err
			}
			return g.showAdminRole(c, &r)
		},
	})
	c.Flags().StringArrayVar(&permissions, "permission", nil, "permissions, which replace all existing ones; several allowed")
	c.Flags().StringVar(&description, "description", "", "for people")
	return c
}

func adminRoleDelete(g *globals) *cobra.Command {
	return &cobra.Command{
		Use: "delete NAME", Short: "Delete a management role that no administrator has", Args: exactly(1), Example: "  extauthz admins roles delete revoker",
		ValidArgsFunction: g.completeAdminRole,
		RunE: func(c *cobra.Command, args []string) error {
			client, err := g.client()
			if err != nil {
				return err
			}
			return client.Call(c.Context(), http.MethodDelete, adminRolePath(args[0]), nil, nil, nil)
		},
	}
}

func (g *globals) completeAdminRoles(c *cobra.Command, _ []string, begun string) (out []cobra.Completion, _ cobra.ShellCompDirective) {
	for _, r := range fromServer[adminapi.AdministratorRole](c, g, "/v1/administrator-roles", nil) {
		if strings.HasPrefix(r.Name, begun) {
			out = append(out, cobra.CompletionWithDesc(r.Name, printer.Clean(r.Description)))
		}
	}
	return out, cobra.ShellCompDirectiveNoFileComp
}

func (g *globals) completeAdminRole(c *cobra.Command, args []string, begun string) ([]cobra.Completion, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return g.completeAdminRoles(c, args, begun)
}
