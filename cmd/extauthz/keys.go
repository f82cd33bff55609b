package main

import (
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
)

func keysCommand(g *globals) *cobra.Command {
	return group("keys", "Issue, list, change, rotate and revoke keys",
		keysCreate(g), keysList(g), keysGet(g), keysUpdate(g), keysSwitch(g, "enable"), keysSwitch(g, "disable"), keysRotate(g), keysRevoke(g), keysCheck(g))
}

func keyPath(ref string, more ...string) string {
	return "/v1/keys/" + strings.Join(append([]string{url.PathEscape(ref)}, more...), "/")
}

func keysCreate(g *globals) *cobra.Command {
	var k adminapi.NewKey
	var grants adminapi.Grants
	var expires, idempotency, save string
	c := &cobra.Command{
		Use:     "create --user U --name N --scope RESOURCE:ACTION…",
		Short:   "Issue a key; it is printed this once",
		Example: "  extauthz keys create --user alice --name laptop --scope orders:read --scope 'orders/eu:*' --expires 720h",
		Args:    noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			if save != "" {
				if _, err := os.Lstat(save); err == nil {
					_, err = fmt.Fprintf(c.OutOrStdout(), "%s is there: no key is made\n", save)
					return err
				}
			}
			client, err := g.client()
			if err != nil {
				return err
			}
			if err := setExpiry(expires, &k.ExpiresIn, &k.ExpiresAt); err != nil {
				return err
			}
			if len(grants.Scopes)+len(grants.Projects)+len(grants.Users) > 0 {
				k.Grants = &grants
			}
			var headers []string
			if idempotency != "" {
				headers = append(headers, "Idempotency-Key: "+idempotency)
			}
			var made adminapi.Key
			if err := client.Call(c.Context(), http.MethodPost, "/v1/keys", nil, k, &made, headers...); err != nil {
				return err
			}
			if save != "" && made.Key != "" {
				if err := config.KeepSecret(save, made.Key+"\n", ownSecret); err != nil {
					return fmt.Errorf("key %s was made and is lost, revoke it: %w", made.ID, err)
				}
				made.Key = ""
			}
			return g.show(c, made, func(w *tabwriter.Writer) { describeKey(w, &made) })
		},
	}
	f := c.Flags()
	f.StringVar(&save, "save", "", "file for the key (mode 0600), which then is not printed; where the file is there, none is made")
	f.StringVar(&k.UserID, "user", "", "user that the key stands for")
	f.StringVar(&k.Name, "name", "", "name for people")
	f.StringArrayVar(&k.Scopes, "scope", nil, "resource:action that it may do; several allowed")
	f.StringArrayVar(&k.Roles, "role", nil, "role whose scopes it has; several allowed")
	f.StringVar(&expires, "expires", "", "when it ends: a duration such as 720h, or RFC 3339")
	f.StringVar(&k.Environment, "environment", "", "environment, the first configured one by default")
	f.StringArrayVar(&k.AllowedCIDRs, "allow-cidr", nil, "network that it may be used from; several allowed")
	f.StringToStringVar(&k.Metadata, "meta", nil, "metadata name=value; several allowed")
	f.StringVar(&k.Rate, "rate", "", "how often it may be used, such as 100/s")
	f.StringVar(&k.Project, "project", "", "project that it belongs to")
	f.StringArrayVar(&grants.Scopes, "grant-scope", nil, "for an administrator: scope that it may put on keys")
	f.StringArrayVar(&grants.Projects, "grant-project", nil, "for an administrator: project that it may act in; * for all")
	f.StringArrayVar(&grants.Users, "grant-user", nil, "for an administrator: user that it may make keys for, or the beginning of ids before a *; every user by default")
	f.StringVar(&idempotency, "idempotency-key", "", "calls with the same one are one call")
	required(c, "user", "name")
	return c
}

// required marks flags; cobra's error then is a usage error by SetFlagErrorFunc's
// twin in root.
func required(c *cobra.Command, names ...string) {
	run := c.RunE
	c.RunE = func(c *cobra.Command, args []string) error {
		for _, n := range names {
			if !c.Flags().Changed(n) {
				return usage(c, errMissingFlag(n))
			}
		}
		return run(c, args)
	}
}

type errMissingFlag string

func (e errMissingFlag) Error() string { return "--" + string(e) + " is needed" }

// setExpiry reads --expires into one of the two forms that the API knows.
func setExpiry(text string, in *string, at **time.Time) error {
	if text == "" {
		return nil
	}
	if _, err := time.ParseDuration(text); err == nil {
		*in = text
		return nil
	}
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return usageError{errBadExpiry(text)}
	}
	*at = &t
	return nil
}

type errBadExpiry string

func (e errBadExpiry) Error() string {
	return "--expires " + string(e) + ": write a duration such as 720h, or RFC 3339 such as 2027-01-31T00:00:00Z"
}

func describeKey(w *tabwriter.Writer, k *adminapi.Key) {
	if k.Key != "" {
		row(w, "key", k.Key)
		row(w, "", "shown this once: keep it now")
	}
	if k.Replayed {
		row(w, "key", "was shown by an earlier call with this idempotency key; rotate it if that was lost")
	}
	row(w, "id", k.ID)
	row(w, "prefix", k.Prefix)
	row(w, "user", k.UserID)
	row(w, "name", k.Name)
	row(w, "status", k.Status)
	row(w, "scopes", strings.Join(k.Scopes, " "))
	row(w, "roles", strings.Join(k.Roles, " "))
	row(w, "environment", k.Environment)
	row(w, "expires", when(k.ExpiresAt, "never"))
	if k.ShadowUntil != nil {
		row(w, "only reported until", when(k.ShadowUntil, "-"))
		row(w, "  within", orElse(strings.Join(k.ShadowScopes, " "), "nothing: set it again"))
	}
	if k.ShadowEnd != nil {
		row(w, "  never after", when(k.ShadowEnd, "-"))
	}
	row(w, "created", when(&k.CreatedAt, "-"))
	row(w, "networks", strings.Join(k.AllowedCIDRs, " "))
	row(w, "rate", k.Rate)
	row(w, "project", k.Project)
	if g := k.Grants; g != nil {
		row(w, "may grant", strings.Join(g.Scopes, " "))
		row(w, "  in projects", strings.Join(g.Projects, " "))
		row(w, "  to users", orElse(strings.Join(g.Users, " "), "all"))
	}
	if k.RevokedAt != nil {
		row(w, "revoked", when(k.RevokedAt, "-"))
	}
	if k.RotatedFrom != "" {
		row(w, "rotated from", k.RotatedFrom)
	}
	if k.Usage != nil {
		row(w, "used", k.Usage.Count)
		row(w, "last used", when(k.Usage.LastUsedAt, "never"))
	}
}

func orElse(text, other string) string {
	if text == "" {
		return other
	}
	return text
}

func tableOfKeys(keys []adminapi.Key) func(*tabwriter.Writer) {
	return func(w *tabwriter.Writer) {
		row(w, "PREFIX", "USER", "NAME", "STATUS", "SCOPES", "EXPIRES", "CREATED")
		for i := range keys {
			k := &keys[i]
			row(w, k.Prefix, k.UserID, k.Name, k.Status, strings.Join(append(k.Scopes, k.Roles...), " "), when(k.ExpiresAt, "never"), when(&k.CreatedAt, "-"))
		}
	}
}

func keysList(g *globals) *cobra.Command {
	var user, project, text, unused string
	var active, usage bool
	c := &cobra.Command{
		Use: "list", Short: "List keys, newest first", Args: noArguments,
		Example: "  extauthz keys list --user alice --active\n  extauthz keys list --unused-for 2160h -o json",
		RunE: func(c *cobra.Command, _ []string) error {
			q := url.Values{}
			for name, value := range map[string]string{"user_id": user, "project": project, "q": text, "unused_for": unused} {
				if value != "" {
					q.Set(name, value)
				}
			}
			if active {
				q.Set("active", "true")
			}
			if usage {
				q.Set("usage", "true")
			}
			keys, err := all[adminapi.Key](c, g, "/v1/keys", q)
			if err != nil {
				return err
			}
			return g.show(c, keys, tableOfKeys(keys))
		},
	}
	f := c.Flags()
	f.StringVar(&user, "user", "", "only of this user")
	f.StringVar(&project, "project", "", "only of this project")
	f.StringVar(&text, "search", "", "only those whose prefix, name (in any case) or user begins with this; in that order")
	f.BoolVar(&active, "active", false, "only keys that are good now")
	f.StringVar(&unused, "unused-for", "", "only keys older than this and not used for as long, such as 2160h")
	f.BoolVar(&usage, "usage", false, "with usage (in json)")
	return c
}

// all reads every page of a list.
func all[T any](c *cobra.Command, g *globals, path string, q url.Values) ([]T, error) {
	client, err := g.client()
	if err != nil {
		return nil, err
	}
	items := []T{}
	for {
		var page adminapi.Page[T]
		if err := client.Call(c.Context(), http.MethodGet, path, q, nil, &page); err != nil {
			return nil, err
		}
		items = append(items, page.Items...)
		if page.NextCursor == "" {
			return items, nil
		}
		q.Set("cursor", page.NextCursor)
	}
}

func keysGet(g *globals) *cobra.Command {
	return &cobra.Command{
		Use: "get ID", Short: "Show a key, by id or prefix", Args: exactly(1), Example: "  extauthz keys get ak_live_4fJ9xQ2b",
		RunE: func(c *cobra.Command, args []string) error {
			return g.oneKey(c, http.MethodGet, keyPath(args[0]), nil)
		},
	}
}

// oneKey makes a call that answers with a key, and shows it.
func (g *globals) oneKey(c *cobra.Command, method, path string, in any, headers ...string) error {
	client, err := g.client()
	if err != nil {
		return err
	}
	var k adminapi.Key
	if err := client.Call(c.Context(), method, path, nil, in, &k, headers...); err != nil {
		return err
	}
	return g.show(c, k, func(w *tabwriter.Writer) { describeKey(w, &k) })
}

func keysSwitch(g *globals, verb string) *cobra.Command {
	return &cobra.Command{
		Use: verb + " ID", Short: strings.ToUpper(verb[:1]) + verb[1:] + " a key", Args: exactly(1), Example: "  extauthz keys " + verb + " ak_live_4fJ9xQ2b",
		RunE: func(c *cobra.Command, args []string) error {
			return g.oneKey(c, http.MethodPost, keyPath(args[0], verb), nil)
		},
	}
}
