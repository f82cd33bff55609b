package main

import (
	"errors"
	"fmt"
	"net/url"

	"github.com/spf13/cobra"

	"extauthz/authz/subject"
	"extauthz/cmd/extauthz/internal/adminapi"
	"extauthz/cmd/extauthz/internal/printer"
)

// faultyKey is a key with a fault: its user id or name would be refused today or stored
// in another form, or its row can't be read.
type faultyKey struct {
	ID     string `json:"id"`
	Prefix string `json:"prefix"`
	Status string `json:"status"`
	Field  string `json:"field"` // user_id, name or row
	Value  string `json:"value"`
	Reason string `json:"reason"`
	Do     string `json:"do"`
}

func faultyKeyListing() *listing[faultyKey] {
	text := func(name string, least int, read func(*faultyKey) string) printer.Column[faultyKey] {
		return printer.Column[faultyKey]{Name: name, MinWidth: least, Text: read}
	}
	return &listing[faultyKey]{name: func(o *faultyKey) string { return o.Prefix }, columns: []printer.Column[faultyKey]{
		text("prefix", 0, func(o *faultyKey) string { return o.Prefix }),
		text("status", 0, func(o *faultyKey) string { return o.Status }),
		text("field", 0, func(o *faultyKey) string { return o.Field }),
		text("value", 8, func(o *faultyKey) string { return fmt.Sprintf("%+q", o.Value) }),
		text("reason", 12, func(o *faultyKey) string { return o.Reason }),
		text("do", 12, func(o *faultyKey) string { return o.Do }),
	}}
}

func keysCheck(g *globals) *cobra.Command {
	l := faultyKeyListing()
	return named(&cobra.Command{
		Use: "check", Short: "Report keys whose user id or name would be refused or changed today", Args: noArguments,
		Long: "Report keys whose user id or name would be refused or changed today: with blanks at an edge, invisible characters, in another Unicode form. " +
			"Such keys keep working. Keys whose row in the database can't be read are reported too; those are refused. Revoked keys are left out. Exits with status 1 if there are such keys.",
		Example: "  extauthz keys check\n  extauthz keys check -o json",
		RunE: func(c *cobra.Command, _ []string) error {
			odd, keys := []faultyKey{}, int64(0)
			progress := printer.NewProgress(c.ErrOrStderr(), "keys")
			err := pages(c, g, "/v1/keys", url.Values{"limit": {"1000"}}, func(page []adminapi.Key) bool {
				for i := range page {
					if page[i].RevokedAt == nil {
						odd = append(odd, faultsOf(&page[i])...)
					}
				}
				keys += int64(len(page))
				progress.Set("checked", keys, 0)
				return true
			})
			progress.End()
			if err != nil {
				return err
			}
			if len(odd) == 0 && (g.form == printer.Table || g.form == printer.Wide) {
				_, err := fmt.Fprintf(c.OutOrStdout(), "all user ids and names are as they would be stored today (%d keys)\n", keys)
				return err
			}
			err = l.show(c, g, odd)
			if err == nil && len(odd) > 0 {
				err = errFaultyKeys(len(odd))
			}
			return err
		},
	})
}

type errFaultyKeys int

func (e errFaultyKeys) Error() string {
	return fmt.Sprintf("%d user ids, names or rows would be refused or changed today: see above", int(e))
}

// faultsOf reports what is wrong with a key's user id, name and row. An id never changes,
// so the remedy for a wrong one is a new key.
func faultsOf(k *adminapi.Key) (odd []faultyKey) {
	look := func(field, value, do string, stored string, err error) {
		if err == nil && stored != value {
			err = errors.New("is in another Unicode form than the usual one (NFC)")
		}
		if err != nil {
			odd = append(odd, faultyKey{ID: k.ID, Prefix: k.Prefix, Status: k.Status, Field: field, Value: value, Reason: err.Error(), Do: do})
		}
	}
	if k.Unreadable != "" {
		odd = append(odd, faultyKey{ID: k.ID, Prefix: k.Prefix, Status: k.Status, Field: "row", Reason: k.Unreadable, Do: "fix the key's row in the database"})
	}
	stored, err := subject.UserID(k.UserID)
	look("user_id", k.UserID, "issue a key for the right user id, then extauthz keys revoke "+k.Prefix, stored, err)
	stored, err = subject.Name(k.Name)
	look("name", k.Name, "extauthz keys update "+k.Prefix+" --name NAME", stored, err)
	return odd
}
