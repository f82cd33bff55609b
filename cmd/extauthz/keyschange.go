package main

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"extauthz/cmd/extauthz/internal/adminapi"
	"extauthz/cmd/extauthz/internal/duration"
)

func keysUpdate(g *globals) *cobra.Command {
	var name, expires, shadow, rate, project, version string
	var scopes, roles, cidrs []string
	var meta map[string]string
	c := named(&cobra.Command{
		Use: "update ID", Short: "Change a key; lists replace the existing ones", Args: exactly(1),
		Example:           "  extauthz keys update ak_live_4fJ9xQ2b --scope orders:read --expires 90d",
		ValidArgsFunction: g.completeKey(nil),
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
			set(changed("expires"), &patch.ExpiresAt, expires)
			set(changed("shadow-until"), &patch.ShadowUntil, shadow)
			if patch == (adminapi.KeyPatch{}) {
				return usage(c, errors.New("nothing to change: give at least one flag"))
			}
			var headers []string
			if version != "" {
				headers = append(headers, `If-Match: "`+version+`"`)
			}
			return g.oneKey(c, http.MethodPatch, keyPath(args[0]), patch, headers...)
		},
	})
	f := c.Flags()
	f.StringVar(&name, "name", "", "display name")
	f.StringArrayVar(&scopes, "scope", nil, "scopes, which replace all existing ones; several allowed")
	roleFlag(c, g, &roles, "roles, which replace all existing ones; several allowed")
	timeFlag(f, &expires, "expires", "when it ends: a duration such as 12h or 30d, RFC 3339, or never", "never")
	f.StringArrayVar(&cidrs, "allow-cidr", nil, "networks, which replace all existing ones; several allowed")
	f.StringToStringVar(&meta, "meta", nil, "metadata, which replaces all existing entries")
	f.StringVar(&rate, "rate", "", "rate limit, such as 100/s; empty for no limit")
	f.StringVar(&project, "project", "", "project that it belongs to")
	timeFlag(f, &shadow, "shadow-until", "end of its shadow mode, in which denials for scope, network and route are only reported, within what you may grant: a duration, RFC 3339, or never; once set, it can only be moved earlier", "never")
	f.StringVar(&version, "if-version", "", "only if this is still the key's version")
	return c
}

func set[T any](given bool, field **T, value T) {
	if given {
		*field = &value
	}
}

func keysRotate(g *globals) *cobra.Command {
	grace, expires, save := "24h", "", ""
	var leave consent
	c := &cobra.Command{
		Use: "rotate ID", Short: "Replace a key by a new one; it is printed only once", Args: exactly(1),
		Example:           "  extauthz keys rotate ak_live_4fJ9xQ2b --grace 7d",
		ValidArgsFunction: g.completeKey(func(k *adminapi.Key) bool { return k.Status == "active" }),
		RunE: func(c *cobra.Command, args []string) error {
			if save != "" {
				if _, err := os.Lstat(save); err == nil {
					return usage(c, fmt.Errorf("%s exists, so no key was rotated: name another file", save))
				}
			}
			if d, err := duration.Parse(grace); err == nil && d == 0 {
				if err := leave.confirm(c, false, args[0]+" ends at once, since --grace is "+grace); err != nil {
					return err
				}
			}
			r := adminapi.Rotation{Grace: grace}
			r.ExpiresIn, r.ExpiresAt = expiry(expires)
			rotated, err := call[adminapi.Rotated](c, g, http.MethodPost, keyPath(args[0], "rotate"), nil, r)
			if err != nil {
				return err
			}
			if err := saveKey(save, &rotated.Key); err != nil {
				return err
			}
			return g.show(c, rotated, func(w *tabwriter.Writer) {
				g.describeKey(w, &rotated.Key)
				row(w, "old key", rotated.Old.Prefix+" ends "+g.when(rotated.Old.ExpiresAt, "never"))
			})
		},
	}
	c.Flags().Var(&checked{&grace, "duration", notNegative}, "grace", "how long the old key stays valid, such as 12h or 7d; 0s ends it at once")
	c.Flags().StringVar(&save, "save", "", "file for the new key (mode 0600), which then is not printed; it must not exist")
	timeFlag(c.Flags(), &expires, "expires", "when the new key ends: a duration such as 12h or 30d, or RFC 3339; by default it lives as long as the old one was made to")
	leave.flag(c)
	return c
}

// notNegative checks a duration that may be zero.
func notNegative(text string) error {
	d, err := duration.Parse(text)
	if err == nil && d < 0 {
		err = errors.New("it is less than zero")
	}
	return err
}
