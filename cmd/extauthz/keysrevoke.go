package main

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"github.com/spf13/cobra"

	"extauthz/cmd/extauthz/internal/adminapi"
)

func keysRevoke(g *globals) *cobra.Command {
	var onlyThis bool
	var user, reason string
	var leave consent
	l := keyListing(g)
	c := named(&cobra.Command{
		Use: "revoke ID…", Short: "Revoke keys for good, with their rotation families", Args: cobra.ArbitraryArgs,
		Long: `Revoke keys permanently, with their rotation families. One id or prefix needs no question. Several, and --user where it
has more than one key, are asked about on a terminal, and need --yes elsewhere.`,
		Example:           "  extauthz keys revoke ak_live_4fJ9xQ2b --reason leaked\n  extauthz keys revoke --user alice\n  extauthz keys revoke --user alice --yes",
		ValidArgsFunction: g.completeKeys(func(k *adminapi.Key) bool { return k.RevokedAt == nil }),
		RunE: func(c *cobra.Command, args []string) error {
			if (len(args) == 0) == (user == "") {
				return usage(c, errors.New("give ids or prefixes, or --user"))
			}
			if err := g.confirmRevocation(c, &leave, user, args); err != nil {
				return err
			}
			q := given(map[string]string{"reason": reason})
			if onlyThis {
				q.Set("only_this", "true")
			}
			revoked := []adminapi.Key{}
			var problems []error
			call := func(method, path string) {
				page, err := call[adminapi.Page[adminapi.Key]](c, g, method, path, q, nil)
				if err != nil {
					problems = append(problems, err)
				}
				revoked = append(revoked, page.Items...)
			}
			if user != "" {
				call(http.MethodPost, userPath(user)+"/revoke")
			}
			for _, ref := range args {
				call(http.MethodDelete, keyPath(ref))
			}
			return errors.Join(append(problems, l.show(c, g, revoked))...)
		},
	})
	c.Flags().BoolVar(&onlyThis, "only-this", false, "leave the other keys of the rotation family as they are")
	userFlag(c, g, &user, "all keys of this user")
	c.Flags().StringVar(&reason, "reason", "", "for the audit")
	leave.flag(c)
	return c
}

func userPath(user string) string { return "/v1/users/" + url.PathEscape(user) }

// confirmRevocation asks before more than one key is revoked. With --yes it only prints
// how many keys of the user are revoked, if the caller may list them.
func (g *globals) confirmRevocation(c *cobra.Command, leave *consent, user string, refs []string) error {
	if user == "" {
		if len(refs) == 1 {
			return nil
		}
		return leave.confirm(c, true, fmt.Sprintf("%s are revoked for good: %s", counted(len(refs), "key"), some(refs)))
	}
	prefixes, err := g.liveKeys(c, user)
	switch {
	case err != nil && leave.yes:
		return nil
	case err != nil:
		return fmt.Errorf("the keys of %s can't be counted: %w: give --yes to revoke them without that", user, err)
	case len(prefixes) == 0:
		return nil
	}
	what := fmt.Sprintf("%s of %s for good: %s", counted(len(prefixes), "key"), user, some(prefixes))
	if leave.yes {
		c.PrintErrln("revoking " + what)
	}
	if len(prefixes) == 1 {
		return nil
	}
	return leave.confirm(c, true, "this revokes "+what)
}

// liveKeys returns the prefixes of those keys of a user that are not revoked.
func (g *globals) liveKeys(c *cobra.Command, user string) (prefixes []string, err error) {
	err = pages(c, g, userPath(user)+"/keys", url.Values{"limit": {"1000"}}, func(keys []adminapi.Key) bool {
		for i := range keys {
			if keys[i].RevokedAt == nil {
				prefixes = append(prefixes, keys[i].Prefix)
			}
		}
		return true
	})
	return prefixes, err
}
