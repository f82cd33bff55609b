package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/user"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"extauthz/authz"
	"extauthz/authz/administrators"
	"extauthz/cmd/extauthz/internal/config"
	"extauthz/cmd/extauthz/internal/server"
	"extauthz/models"
)

func adminRecover(g *globals) *cobra.Command {
	var o struct {
		keyFile      string
		revokeOthers bool
	}
	var leave consent
	c := &cobra.Command{
		Use: "recover", Short: "Make another administrator, directly in the database", Args: noArguments,
		Long: `Create another administrator, an owner, directly in the database: for an owner's
key that was lost, or that someone else has. It needs the database that the
configuration names, and its peppers; it asks no service and no other key, so it
works while the service runs and while it does not. Running replicas accept the
key as soon as they have read the change, within a second.

The new key is printed this once, or written to a new file that only its owner can
read. The audit log holds a row by "admin recover", with the user of this machine.`,
		Example: "  extauthz admin recover --config extauthz.yaml --key-file admin.key\n  extauthz admin recover --revoke-others",
		RunE: func(c *cobra.Command, _ []string) error {
			if o.revokeOthers {
				if err := leave.confirm(c, false, "every other administrator is removed and its keys are revoked for good"); err != nil {
					return err
				}
			}
			settings, err := g.load("database", "data_dir", "keys")
			if err != nil {
				return err
			}
			made, err := recoverAdministrator(c.Context(), settings, o.keyFile, o.revokeOthers)
			if err != nil {
				return err
			}
			return g.show(c, made, func(w *tabwriter.Writer) {
				if made.File != "" {
					row(w, "key file", made.File)
				} else {
					row(w, made.Key)
				}
				row(w, "administrator", made.Administrator)
				for _, name := range made.Removed {
					row(w, "removed", name)
				}
			})
		},
	}
	c.Flags().StringVar(&o.keyFile, "key-file", "", "file to write the key to; it must not exist (default: the key is printed)")
	c.Flags().BoolVar(&o.revokeOthers, "revoke-others", false, "remove every other administrator, and revoke its keys")
	leave.flag(c)
	return c
}

// recoveredKey is what `admin recover` prints. Key is empty if the key was written to a
// file.
type recoveredKey struct {
	Administrator string   `json:"administrator"` // its name
	ID            string   `json:"id"`
	Prefix        string   `json:"prefix"`
	Key           string   `json:"key,omitempty"`
	File          string   `json:"file,omitempty"`
	Removed       []string `json:"removed"` // names of administrators
}

// recoverAdministrator writes the key to the file before the database stores its digest:
// the database alone could not give the key back.
func recoverAdministrator(ctx context.Context, c *config.Config, file string, revokeOthers bool) (recoveredKey, error) {
	db, err := openExisting(ctx, c)
	if err != nil {
		return recoveredKey{}, err
	}
	defer func() { _ = db.Close() }()
	admins, format, err := offlineAdministrators(ctx, c, db)
	if err != nil {
		return recoveredKey{}, err
	}
	key, _, err := format.Generate(format.Environments()[0], rand.Reader)
	if err != nil {
		return recoveredKey{}, err
	}
	if file != "" {
		if err := config.KeepSecret(file, key.Reveal()+"\n", ownSecret); err != nil {
			return recoveredKey{}, err
		}
	}
	made, ended, err := admins.Recover(ctx, administrators.Recovery{Key: key, By: operator(), EndOthers: revokeOthers})
	if err != nil {
		if file != "" { // the database has not stored this key
			err = errors.Join(err, os.Remove(file))
		}
		return recoveredKey{}, fmt.Errorf("no administrator was made: %w", err)
	}
	out := recoveredKey{ID: made.Keys[0].ID, Administrator: made.Administrator.Name, Prefix: made.Keys[0].Prefix, File: file, Removed: append([]string{}, ended...)}
	if file == "" {
		out.Key = key.Reveal()
	}
	return out, nil
}

// openExisting opens the configured database as it is: it creates neither a file nor
// tables.
func openExisting(ctx context.Context, c *config.Config) (*models.DB, error) {
	m := server.DatabaseConfig(c)
	if m.Driver == models.SQLite {
		if _, err := os.Stat(m.DSN); err != nil {
			return nil, fmt.Errorf("the database can't be opened: %w: name the configuration or the folder of the service, by --config or --data-dir", err)
		}
	}
	db, err := models.Open(ctx, m)
	if err != nil {
		return nil, err
	}
	current, newest, err := db.MigrationStatus(ctx)
	if err == nil && current != newest {
		err = fmt.Errorf("the database has version %d and this program needs %d: use the program of the service's version, or run: extauthz migrate up", current, newest)
	}
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

// noNotifier sends no change notifications. This process caches nothing, and replicas
// read the change from the database.
type noNotifier struct{}

func (noNotifier) Changed(context.Context, []authz.Change) {}

// offlineAdministrators returns the service of administrators over the database alone; the
// database's clock counts.
func offlineAdministrators(ctx context.Context, c *config.Config, db *models.DB) (*administrators.Service, *authz.KeyFormat, error) {
	format, err := c.KeyFormat()
	if err != nil {
		return nil, nil, err
	}
	peppers, err := c.Peppers()
	if err != nil {
		return nil, nil, err
	}
	now, err := db.Now(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("the database's time can't be read: %w", err)
	}
	admins, err := administrators.New(administrators.Config{Format: format, Peppers: func() *authz.Peppers { return peppers }, Random: rand.Reader,
		Now: func() time.Time { return now }, Store: db, Notifier: noNotifier{}, Logger: slog.New(slog.DiscardHandler)})
	return admins, format, err
}

// operator returns the name of this machine's user for the audit. It is a hint, not a
// proof.
func operator() string {
	name := "uid " + strconv.Itoa(os.Getuid())
	if u, err := user.Current(); err == nil && u.Username != "" {
		name = u.Username
	}
	if host, err := os.Hostname(); err == nil {
		name += "@" + host
	}
	return name
}
