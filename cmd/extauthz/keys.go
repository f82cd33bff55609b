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
	"extauthz/cmd/extauthz/internal/printer"
)

func keysCommand(g *globals) *cobra.Command {
	return group("keys", "Issue, list, change, rotate and revoke keys",
		keysCreate(g), keysList(g), keysGet(g), keysUpdate(g), keysSwitch(g, "enable", "disabled"), keysSwitch(g, "disable", "active"), keysRotate(g), keysRevoke(g), keysCheck(g))
}

func keyPath(ref string, more ...string) string {
	return "/v1/keys/" + strings.Join(append([]string{url.PathEscape(ref)}, more...), "/")
}

func keysCreate(g *globals) *cobra.Command {
	var k adminapi.NewKey
	var expires, idempotency, save string
	c := &cobra.Command{
		Use:     "create --user U --name N --scope RESOURCE:ACTION…",
		Short:   "Create a key; it is printed only once",
		Example: "  extauthz keys create --user alice --name laptop --scope orders:read --scope 'orders/eu:*' --expires 30d",
		Args:    noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			if g.form == printer.Name && save == "" {
				return usage(c, errors.New("-o name does not print the key, which would be lost: give --save FILE too"))
			}
			if save != "" {
				if _, err := os.Lstat(save); err == nil {
					_, err = fmt.Fprintf(c.OutOrStdout(), "%s exists, so no key was created: delete the file, or name another one\n", save)
					return err
				}
			}
			k.ExpiresIn, k.ExpiresAt = expiry(expires)
			var headers []string
			if idempotency != "" {
				headers = append(headers, "Idempotency-Key: "+idempotency)
			}
			made, err := call[adminapi.Key](c, g, http.MethodPost, "/v1/keys", nil, k, headers...)
			if err != nil {
				return err
			}
			if err := saveKey(save, &made); err != nil {
				return err
			}
			return g.showNamed(c, made, made.Prefix, func(w *tabwriter.Writer) { g.describeKey(w, &made) })
		},
	}
	named(c)
	f := c.Flags()
	f.StringVar(&save, "save", "", "file for the key (mode 0600), which then is not printed; if the file exists, no key is created")
	userFlag(c, g, &k.UserID, "user whose key it is")
	f.StringVar(&k.Name, "name", "", "display name")
	f.StringArrayVar(&k.Scopes, "scope", nil, "resource:action that it may do; several allowed")
	roleFlag(c, g, &k.Roles, "role whose scopes it has; several allowed")
	timeFlag(f, &expires, "expires", "when it ends: a duration such as 12h or 30d, or RFC 3339")
	f.StringVar(&k.Environment, "environment", "", "environment, the first configured one by default")
	f.StringArrayVar(&k.AllowedCIDRs, "allow-cidr", nil, "network that it may be used from; several allowed")
	f.StringToStringVar(&k.Metadata, "meta", nil, "metadata name=value; several allowed")
	f.StringVar(&k.Rate, "rate", "", "rate limit, such as 100/s")
	f.StringVar(&k.Project, "project", "", "project that it belongs to")
	f.StringVar(&idempotency, "idempotency-key", "", "repeated calls with the same value create one key")
	required(c, "user", "name")
	return c
}

// saveKey writes a created key to the file, if one is named, so that it is not printed.
func saveKey(file string, k *adminapi.Key) error {
	if file == "" || k.Key == "" {
		return nil
	}
	if err := config.KeepSecret(file, k.Key+"\n", ownSecret); err != nil {
		return fmt.Errorf("key %s was created and is lost, revoke it: %w", k.ID, err)
	}
	k.Key = ""
	return nil
}

// expiry returns --expires in one of the two forms that the API accepts: a duration,
// which the server counts from its own time, or a time.
func expiry(text string) (in string, at *time.Time) {
	if t, err := time.Parse(time.RFC3339Nano, text); err == nil {
		return "", &t
	}
	return text, nil
}

func (g *globals) describeKey(w *tabwriter.Writer, k *adminapi.Key) {
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
	row(w, "expires", g.when(k.ExpiresAt, "never"))
	if k.ShadowUntil != nil {
		row(w, "only reported until", g.when(k.ShadowUntil, "-"))
		row(w, "  within", orElse(strings.Join(k.ShadowScopes, " "), "nothing: set it again"))
	}
	if k.ShadowEnd != nil {
		row(w, "  never after", g.when(k.ShadowEnd, "-"))
	}
	row(w, "created", g.when(&k.CreatedAt, "-"))
	row(w, "networks", strings.Join(k.AllowedCIDRs, " "))
	row(w, "rate", k.Rate)
	row(w, "project", k.Project)
	if k.RevokedAt != nil {
		row(w, "revoked", g.when(k.RevokedAt, "-"))
	}
	if k.RotatedFrom != "" {
		row(w, "rotated from", k.RotatedFrom)
	}
	if k.Usage != nil {
		row(w, "used", k.Usage.Count)
		row(w, "last used", g.when(k.Usage.LastUsedAt, "never"))
	}
}

func orElse(text, other string) string {
	if text == "" {
		return other
	}
	return text
}

func keysGet(g *globals) *cobra.Command {
	return named(&cobra.Command{
		Use: "get ID", Short: "Show a key, by id or prefix", Args: exactly(1), Example: "  extauthz keys get ak_live_4fJ9xQ2b",
		ValidArgsFunction: g.completeKey(nil),
		RunE: func(c *cobra.Command, args []string) error {
			k, err := call[adminapi.Key](c, g, http.MethodGet, keyPath(args[0]), nil, nil)
			if err != nil {
				return err
			}
			var next *adminapi.Key
			if g.form == printer.Table || g.form == printer.Wide {
				if next, err = successor(c, g, &k); err != nil {
					return err
				}
			}
			return g.showNamed(c, k, k.Prefix, func(w *tabwriter.Writer) {
				g.describeKey(w, &k)
				if next != nil {
					row(w, "rotated to", next.Prefix+", "+next.Status)
				}
			})
		},
	})
}

// successor returns the key that replaced k by rotation, the newest one if several did,
// or nil. Records name only their predecessor, so it reads those of the user's keys that
// are newer than k; lists begin with the newest, and ids sort by time.
func successor(c *cobra.Command, g *globals, k *adminapi.Key) (next *adminapi.Key, err error) {
	err = pages(c, g, "/v1/keys", url.Values{"user_id": {k.UserID}, "limit": {"1000"}}, func(keys []adminapi.Key) (more bool) {
		for i := range keys {
			if keys[i].ID <= k.ID {
				return false
			}
			if keys[i].RotatedFrom == k.ID {
				next = &keys[i]
				return false
			}
		}
		return true
	})
	return next, err
}

// oneKey makes a call whose answer is a key, and prints that key.
func (g *globals) oneKey(c *cobra.Command, method, path string, in any, headers ...string) error {
	k, err := call[adminapi.Key](c, g, method, path, nil, in, headers...)
	if err != nil {
		return err
	}
	return g.showNamed(c, k, k.Prefix, func(w *tabwriter.Writer) { g.describeKey(w, &k) })
}

// keysSwitch makes the commands enable and disable.
func keysSwitch(g *globals, verb, from string) *cobra.Command {
	return named(&cobra.Command{
		Use: verb + " ID", Short: strings.ToUpper(verb[:1]) + verb[1:] + " a key", Args: exactly(1), Example: "  extauthz keys " + verb + " ak_live_4fJ9xQ2b",
		ValidArgsFunction: g.completeKey(func(k *adminapi.Key) bool { return k.Status == from }),
		RunE: func(c *cobra.Command, args []string) error {
			return g.oneKey(c, http.MethodPost, keyPath(args[0], verb), nil)
		},
	})
}
