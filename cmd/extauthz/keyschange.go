package main

import (
	"errors"
	"net/http"
	"net/url"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"extauthz/cmd/extauthz/internal/adminapi"
)

func keysUpdate(g *globals) *cobra.Command {
	var name, expires, shadow, rate, project, version string
	var scopes, roles, cidrs []string
	var meta map[string]string
	c := &cobra.Command{
		Use: "update ID", Short: "Change a key; lists replace what was there", Args: exactly(1),
		Example: "  extauthz keys update ak_live_4fJ9xQ2b --scope orders:read --expires never",
		RunE: func(c *cobra.Command, args []string) error {
			var patch adminapi.KeyPatch
			changed := c.Flags().Changed
			set(changed("name"), &patch.Name, name)
			set(changed("scope"), &patch.Scopes, scopes)
			set(changed("role"), &patch.Roles, roles)
			set(changed("allow-cidr"), &patch.AllowedCIDRs, cidrs)
			set(changed("meta"), &patch.Metadata, meta)
			set(changed("rate"), &patch.Rate, rate)
			set(changed("project"), &patch.Project, project)
			set(changed("expires"), &patch.ExpiresAt, absolute(expires))
			set(changed("shadow-until"), &patch.ShadowUntil, absolute(shadow))
			if patch == (adminapi.KeyPatch{}) {
				return usage(c, errors.New("nothing to change: give at least one flag"))
			}
			var headers []string
			if version != "" {
				headers = append(headers, `If-Match: "`+version+`"`)
			}
			return g.oneKey(c, http.MethodPatch, keyPath(args[0]), patch, headers...)
		},
	}
	f := c.Flags()
	f.StringVar(&name, "name", "", "name for people")
	f.StringArrayVar(&scopes, "scope", nil, "scopes in place of all; several allowed")
	f.StringArrayVar(&roles, "role", nil, "roles in place of all; several allowed")
	f.StringVar(&expires, "expires", "", "when it ends: a duration, RFC 3339, or never")
	f.StringArrayVar(&cidrs, "allow-cidr", nil, "networks in place of all; several allowed")
	f.StringToStringVar(&meta, "meta", nil, "metadata in place of all")
	f.StringVar(&rate, "rate", "", "how often it may be used, such as 100/s; empty for no limit")
	f.StringVar(&project, "project", "", "project that it belongs to")
	f.StringVar(&shadow, "shadow-until", "", "until when its refusals for scope, network and route are only reported, within what your own key may grant: a duration, RFC 3339, or never; once set, it can only come sooner")
	f.StringVar(&version, "if-version", "", "only if this is still the key's version")
	return c
}

// absolute turns a duration from now into a time.
func absolute(text string) string {
	if d, err := time.ParseDuration(text); err == nil {
		return time.Now().Add(d).Format(time.RFC3339Nano)
	}
	return text
}

func set[T any](given bool, field **T, value T) {
	if given {
		*field = &value
	}
}

func keysRotate(g *globals) *cobra.Command {
	var grace, expires string
	c := &cobra.Command{
		Use: "rotate ID", Short: "Issue a new key in place of one; it is printed this once", Args: exactly(1),
		Example: "  extauthz keys rotate ak_live_4fJ9xQ2b --grace 24h",
		RunE: func(c *cobra.Command, args []string) error {
			client, err := g.client()
			if err != nil {
				return err
			}
			r := adminapi.Rotation{Grace: grace}
			var in string
			if err := setExpiry(expires, &in, &r.ExpiresAt); err != nil {
				return err
			}
			if d, err := time.ParseDuration(in); err == nil {
				at := time.Now().Add(d)
				r.ExpiresAt = &at
			}
			var rotated adminapi.Rotated
			if err := client.Call(c.Context(), http.MethodPost, keyPath(args[0], "rotate"), nil, r, &rotated); err != nil {
				return err
			}
			return g.show(c, rotated, func(w *tabwriter.Writer) {
				describeKey(w, &rotated.Key)
				row(w, "old key", rotated.Old.Prefix+" ends "+when(rotated.Old.ExpiresAt, "never"))
			})
		},
	}
	c.Flags().StringVar(&grace, "grace", "24h", "how long the old key stays good")
	c.Flags().StringVar(&expires, "expires", "", "when the new key ends: a duration or RFC 3339; by default it lives as long as the old one was made to")
	return c
}

func keysRevoke(g *globals) *cobra.Command {
	var onlyThis bool
	var user, reason string
	c := &cobra.Command{
		Use: "revoke ID…", Short: "Revoke keys for good, with their rotation families", Args: cobra.ArbitraryArgs,
		Example: "  extauthz keys revoke ak_live_4fJ9xQ2b --reason leaked\n  extauthz keys revoke --user alice",
		RunE: func(c *cobra.Command, args []string) error {
			if (len(args) == 0) == (user == "") {
				return usage(c, errors.New("give ids or prefixes, or --user"))
			}
			client, err := g.client()
			if err != nil {
				return err
			}
			q := url.Values{}
			if reason != "" {
				q.Set("reason", reason)
			}
			if onlyThis {
				q.Set("only_this", "true")
			}
			revoked := []adminapi.Key{}
			var problems []error
			call := func(method, path string) {
				var page adminapi.Page[adminapi.Key]
				if err := client.Call(c.Context(), method, path, q, nil, &page); err != nil {
					problems = append(problems, err)
				}
				revoked = append(revoked, page.Items...)
			}
			if user != "" {
				call(http.MethodPost, "/v1/users/"+url.PathEscape(user)+"/revoke")
			}
			for _, ref := range args {
				call(http.MethodDelete, keyPath(ref))
			}
			return errors.Join(append(problems, g.show(c, revoked, tableOfKeys(revoked)))...)
		},
	}
	c.Flags().BoolVar(&onlyThis, "only-this", false, "leave the other keys of the rotation family as they are")
	c.Flags().StringVar(&user, "user", "", "all keys of this user")
	c.Flags().StringVar(&reason, "reason", "", "for the audit")
	return c
}
