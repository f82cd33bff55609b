package main

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"extauthz/cmd/extauthz/internal/adminapi"
	"extauthz/cmd/extauthz/internal/config"
	"extauthz/cmd/extauthz/internal/duration"
	"extauthz/cmd/extauthz/internal/printer"
)

func adminsCommand(g *globals) *cobra.Command {
	c := group("admins", "Administrators: who manages keys, and with which permissions",
		adminsCreate(g), adminsList(g), adminsGet(g), adminsWho(g), adminsUpdate(g), adminsSwitch(g, "enable", "disabled"), adminsSwitch(g, "disable", "active"),
		adminsRotate(g), adminsEndKey(g), adminsRemove(g), adminRolesCommand(g), adminRecover(g))
	c.Aliases = []string{"admin"}
	return c
}

func adminPath(ref string, more ...string) string {
	parts := []string{"/v1/administrators", url.PathEscape(ref)}
	for _, m := range more {
		parts = append(parts, url.PathEscape(m))
	}
	return strings.Join(parts, "/")
}

// grantFlags are the flags of what an administrator may put on keys.
func grantFlags(c *cobra.Command, grants *adminapi.Grants) {
	f := c.Flags()
	f.StringArrayVar(&grants.Scopes, "grant-scope", nil, "scope that it may put on keys; several allowed")
	f.StringArrayVar(&grants.Projects, "grant-project", nil, "project that it may act in, * for all; several allowed")
	f.StringArrayVar(&grants.Users, "grant-user", nil, "user that it may create keys for, or a prefix of user ids before a *; every user by default")
}

func adminsCreate(g *globals) *cobra.Command {
	var a adminapi.NewAdministrator
	var grants adminapi.Grants
	var expires, save string
	c := named(&cobra.Command{
		Use: "create NAME --role ROLE…", Short: "Create an administrator; its key is printed only once", Args: exactly(1),
		Example: "  extauthz admins create carol@example.com --role support --grant-project shop --grant-scope 'orders:*' --expires 90d\n  extauthz admins create ops --role owner --grant-project '*' --grant-scope '*:*' --save ops.key",
		RunE: func(c *cobra.Command, args []string) error {
			if err := mayLose(c, g, save); err != nil {
				return err
			}
			a.Name = args[0]
			a.ExpiresIn, a.ExpiresAt = expiry(expires)
			a.Grants = &grants
			made, err := call[adminapi.Administrator](c, g, http.MethodPost, "/v1/administrators", nil, a)
			if err != nil {
				return err
			}
			return g.showNewKey(c, &made, save)
		},
	})
	f := c.Flags()
	f.StringArrayVar(&a.Roles, "role", nil, "management role: owner, manager, support, auditor, issuer or an own one; several allowed")
	f.StringVar(&a.Description, "description", "", "for people")
	grantFlags(c, &grants)
	f.StringArrayVar(&a.AllowedCIDRs, "allow-cidr", nil, "network that it may call from; several allowed")
	timeFlag(f, &expires, "expires", "when it ends: a duration such as 12h or 30d, or RFC 3339")
	f.StringVar(&save, "save", "", "new file for the key (mode 0600), which then is not printed")
	complete(c, "role", g.completeAdminRoles)
	required(c, "role")
	return c
}

// mayLose refuses what would lose the key that a call makes.
func mayLose(c *cobra.Command, g *globals, save string) error {
	if save == "" {
		if g.form == printer.Name {
			return usage(c, errors.New("-o name does not print the key, which would be lost: give --save FILE too"))
		}
		return nil
	}
	if _, err := os.Lstat(save); err == nil {
		return fmt.Errorf("no key was made: %s exists: name another file", save)
	}
	return nil
}

// showNewKey prints an administrator with its new key, or writes the key to a file.
func (g *globals) showNewKey(c *cobra.Command, made *adminapi.Administrator, save string) error {
	if save != "" {
		if err := config.KeepSecret(save, made.Key+"\n", ownSecret); err != nil {
			return fmt.Errorf("the key of %s was made and is lost, rotate it: %w", made.Name, err)
		}
		made.Key = ""
	}
	return g.showNamed(c, made, made.Name, func(w *tabwriter.Writer) { g.describeAdmin(w, made) })
}

func (g *globals) describeAdmin(w *tabwriter.Writer, a *adminapi.Administrator) {
	if a.Key != "" {
		row(w, "key", a.Key)
		row(w, "", "shown this once: keep it now")
	}
	row(w, "name", a.Name)
	row(w, "id", a.ID)
	row(w, "description", a.Description)
	row(w, "status", a.Status)
	row(w, "roles", strings.Join(a.Roles, " "))
	row(w, "permissions", strings.Join(a.Permissions, " "))
	row(w, "may grant", orElse(strings.Join(a.Grants.Scopes, " "), "nothing"))
	row(w, "  in projects", orElse(strings.Join(a.Grants.Projects, " "), "none"))
	row(w, "  to users", orElse(strings.Join(a.Grants.Users, " "), "all"))
	row(w, "networks", orElse(strings.Join(a.AllowedCIDRs, " "), "all"))
	row(w, "expires", g.when(a.ExpiresAt, "never"))
	for i, k := range a.Keys {
		label := ""
		if i == 0 {
			label = "keys"
		}
		row(w, label, k.Prefix+" "+k.Status+", ends "+g.when(k.ExpiresAt, "never"))
	}
	row(w, "created", g.when(&a.CreatedAt, "-")+" by "+a.CreatedBy)
	if a.Unreadable != "" {
		row(w, "unreadable", a.Unreadable)
	}
}

func (g *globals) oneAdmin(c *cobra.Command, method, path string, in any, headers ...string) error {
	a, err := call[adminapi.Administrator](c, g, method, path, nil, in, headers...)
	if err != nil {
		return err
	}
	return g.showNamed(c, a, a.Name, func(w *tabwriter.Writer) { g.describeAdmin(w, &a) })
}

func adminsList(g *globals) *cobra.Command {
	type admin = adminapi.Administrator
	l := &listing[admin]{
		name: func(a *admin) string { return a.Name },
		columns: []printer.Column[admin]{
			{Name: "name", MinWidth: 16, Text: func(a *admin) string { return a.Name }},
			{Name: "status", Text: func(a *admin) string { return a.Status }},
			{Name: "roles", MinWidth: 12, Text: func(a *admin) string { return strings.Join(a.Roles, " ") }},
			{Name: "projects", MinWidth: 8, Text: func(a *admin) string { return strings.Join(a.Grants.Projects, " ") }},
			timeColumn(g, "expires", "never", false, func(a *admin) *time.Time { return a.ExpiresAt }),
			timeColumn(g, "created", "-", true, func(a *admin) *time.Time { return &a.CreatedAt }),
		},
	}
	var by string
	c := l.flags(&cobra.Command{
		Use: "list", Short: "List administrators", Args: noArguments, Example: "  extauthz admins list\n  extauthz admins list --sort expires -o wide",
		RunE: func(c *cobra.Command, _ []string) error {
			query := url.Values{}
			if by != "" {
				query.Set("created_by", by)
			}
			all, err := l.read(c, g, "/v1/administrators", query)
			if err != nil {
				return err
			}
			return l.show(c, g, all)
		},
	})
	c.Flags().StringVar(&by, "created-by", "", "only those that this administrator made, by its id")
	return c
}

func adminsGet(g *globals) *cobra.Command {
	return named(&cobra.Command{
		Use: "get NAME", Short: "Show an administrator, by name or id", Args: exactly(1), Example: "  extauthz admins get carol@example.com",
		ValidArgsFunction: g.completeAdmin,
		RunE: func(c *cobra.Command, args []string) error {
			return g.oneAdmin(c, http.MethodGet, adminPath(args[0]), nil)
		},
	})
}

func adminsWho(g *globals) *cobra.Command {
	return &cobra.Command{
		Use: "whoami", Short: "Show whose key this command line uses, and what it may do", Args: noArguments, Example: "  extauthz admins whoami",
		RunE: func(c *cobra.Command, _ []string) error {
			who, err := call[adminapi.Caller](c, g, http.MethodGet, "/v1/caller", nil, nil)
			if err != nil {
				return err
			}
			return g.show(c, who, func(w *tabwriter.Writer) {
				row(w, "name", who.Name)
				row(w, "id", who.AdministratorID)
				row(w, "permissions", strings.Join(who.Permissions, " "))
				row(w, "may grant", orElse(strings.Join(who.Grants.Scopes, " "), "nothing"))
				row(w, "  in projects", orElse(strings.Join(who.Grants.Projects, " "), "none"))
				row(w, "  to users", orElse(strings.Join(who.Grants.Users, " "), "all"))
			})
		},
	}
}

func adminsUpdate(g *globals) *cobra.Command {
	var name, description, expires, version string
	var roles, cidrs []string
	var grants adminapi.Grants
	c := named(&cobra.Command{
		Use: "update NAME", Short: "Change an administrator; lists replace the existing ones", Args: exactly(1),
		Long: `Change an administrator, at once for all its keys. Lists replace the existing ones. Of the
grants, those stay that no flag names.`,
		Example: "  extauthz admins update carol@example.com --role support --role issuer --expires 90d", ValidArgsFunction: g.completeAdmin,
		RunE: func(c *cobra.Command, args []string) error {
			var patch adminapi.AdministratorPatch
			changed := c.Flags().Changed
			set(changed("name"), &patch.Name, name)
			set(changed("description"), &patch.Description, description)
			set(changed("role"), &patch.Roles, roles)
			set(changed("allow-cidr"), &patch.AllowedCIDRs, cidrs)
			set(changed("expires"), &patch.ExpiresAt, expires)
			var headers []string
			if changed("grant-scope") || changed("grant-project") || changed("grant-user") {
				now, err := call[adminapi.Administrator](c, g, http.MethodGet, adminPath(args[0]), nil, nil)
				if err != nil {
					return err
				}
				patch.Grants = mergedGrants(now.Grants, grants, changed)
				headers = []string{fmt.Sprintf(`If-Match: "%d"`, now.Version)}
			}
			if patch == (adminapi.AdministratorPatch{}) {
				return usage(c, errors.New("nothing to change: give at least one flag"))
			}
			if version != "" {
				headers = []string{`If-Match: "` + version + `"`}
			}
			return g.oneAdmin(c, http.MethodPatch, adminPath(args[0]), patch, headers...)
		},
	})
	f := c.Flags()
	f.StringVar(&name, "name", "", "another name")
	f.StringVar(&description, "description", "", "for people")
	f.StringArrayVar(&roles, "role", nil, "management roles, which replace all existing ones; several allowed")
	grantFlags(c, &grants)
	f.StringArrayVar(&cidrs, "allow-cidr", nil, "networks, which replace all existing ones; several allowed, empty for all")
	timeFlag(f, &expires, "expires", "when it ends: a duration such as 12h or 30d, RFC 3339, or never", "never")
	f.StringVar(&version, "if-version", "", "only if this is still the administrator's version")
	complete(c, "role", g.completeAdminRoles)
	return c
}

// mergedGrants are the present grants with those that a flag replaces.
func mergedGrants(now, given adminapi.Grants, changed func(string) bool) *adminapi.Grants {
	if changed("grant-scope") {
		now.Scopes = given.Scopes
	}
	if changed("grant-project") {
		now.Projects = given.Projects
	}
	if changed("grant-user") {
		now.Users = given.Users
	}
	return &now
}

// adminsSwitch is enable and disable.
func adminsSwitch(g *globals, verb, from string) *cobra.Command {
	return named(&cobra.Command{
		Use: verb + " NAME", Short: strings.ToUpper(verb[:1]) + verb[1:] + " an administrator and its keys", Args: exactly(1), Example: "  extauthz admins " + verb + " carol@example.com",
		ValidArgsFunction: g.completeAdminsWhere(func(a *adminapi.Administrator) bool { return a.Status == from }),
		RunE: func(c *cobra.Command, args []string) error {
			return g.oneAdmin(c, http.MethodPost, adminPath(args[0], verb), nil)
		},
	})
}

func adminsRotate(g *globals) *cobra.Command {
	grace, save := "24h", ""
	var leave consent
	c := named(&cobra.Command{
		Use: "rotate NAME", Short: "Replace an administrator's key; it is printed only once", Args: exactly(1),
		Long: `Replace an administrator's key by a new one. The present one ends with --grace, or at once with --grace 0s; end-key ends
it sooner. Your own key you rotate without a permission.`,
		Example: "  extauthz admins rotate ops --save ops-2.key\n  extauthz admins rotate carol@example.com --grace 0s", ValidArgsFunction: g.completeAdmin,
		RunE: func(c *cobra.Command, args []string) error {
			if err := mayLose(c, g, save); err != nil {
				return err
			}
			if d, err := duration.Parse(grace); err == nil && d == 0 {
				if err := leave.confirm(c, false, "the present key of "+args[0]+" ends at once, since --grace is "+grace); err != nil {
					return err
				}
			}
			made, err := call[adminapi.Administrator](c, g, http.MethodPost, adminPath(args[0], "rotate"), nil, adminapi.AdministratorRotation{Grace: grace})
			if err != nil {
				return err
			}
			return g.showNewKey(c, &made, save)
		},
	})
	c.Flags().Var(&checked{&grace, "duration", notNegative}, "grace", "how long the present key stays valid, such as 12h or 7d; 0s ends it at once")
	c.Flags().StringVar(&save, "save", "", "new file for the key (mode 0600), which then is not printed")
	leave.flag(c)
	return c
}

func adminsEndKey(g *globals) *cobra.Command {
	return named(&cobra.Command{
		Use: "end-key NAME KEY", Short: "Revoke one key of an administrator, such as the old one before its grace is over", Args: exactly(2),
		Example: "  extauthz admins end-key ops ak_live_4fJ9xQ2b", ValidArgsFunction: g.completeAdmin,
		RunE: func(c *cobra.Command, args []string) error {
			return g.oneAdmin(c, http.MethodDelete, adminPath(args[0], "keys", args[1]), nil)
		},
	})
}

func adminsRemove(g *globals) *cobra.Command {
	var leave consent
	var reason string
	c := &cobra.Command{
		Use: "remove NAME", Short: "Remove an administrator and revoke its keys, for good", Args: exactly(1), Example: "  extauthz admins remove carol@example.com --reason left",
		Long: `Remove an administrator and revoke its keys, for good. Keys and administrators that it made stay: admins list
--created-by ID shows the latter.`,
		ValidArgsFunction: g.completeAdmin,
		RunE: func(c *cobra.Command, args []string) error {
			if err := leave.confirm(c, false, "this removes the administrator "+args[0]+" and revokes its keys for good"); err != nil {
				return err
			}
			client, err := g.client()
			if err != nil {
				return err
			}
			query := url.Values{}
			if reason != "" {
				query.Set("reason", reason)
			}
			return client.Call(c.Context(), http.MethodDelete, adminPath(args[0]), query, nil, nil)
		},
	}
	c.Flags().StringVar(&reason, "reason", "", "for the audit")
	leave.flag(c)
	return c
}

// completeAdminsWhere completes the names of the selected administrators, for the first argument.
func (g *globals) completeAdminsWhere(wanted func(*adminapi.Administrator) bool) completer {
	return func(c *cobra.Command, args []string, begun string) (out []cobra.Completion, _ cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		for _, a := range fromServer[adminapi.Administrator](c, g, "/v1/administrators", url.Values{"limit": {"1000"}}) {
			if strings.HasPrefix(a.Name, begun) && (wanted == nil || wanted(&a)) && len(out) < completeItems {
				out = append(out, cobra.CompletionWithDesc(a.Name, printer.Clean(strings.Join(a.Roles, " ")+" ("+a.Status+")")))
			}
		}
		return out, cobra.ShellCompDirectiveNoFileComp
	}
}

func (g *globals) completeAdmin(c *cobra.Command, args []string, begun string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return g.completeAdminsWhere(nil)(c, args, begun)
}
