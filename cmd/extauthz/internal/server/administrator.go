package server

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"extauthz/authz"
	"extauthz/authz/keyring"
	"extauthz/cmd/extauthz/internal/config"
	"extauthz/models"
)

// AdminKeyFile is where a first start leaves the first administrator's key,
// below the data folder.
const AdminKeyFile = "admin.key"

// ensureAdministrator makes the first administrator where there is none: with
// the configured key, else, on SQLite, with one that is left in the data
// folder. With Postgres no replica invents one: several may start at once, and
// their folders are not the operator's.
func ensureAdministrator(ctx context.Context, c *config.Config, db *models.DB, keys *keyring.Service, format *authz.KeyFormat, log *slog.Logger) error {
	given, err := c.BootstrapKey()
	if err != nil {
		return err
	}
	if there, err := db.HasAdministrator(ctx); err != nil || there {
		return err
	}
	path := filepath.Join(c.DataDir, AdminKeyFile)
	switch {
	case given.Len() > 0:
	case c.Database.Driver != models.SQLite:
		log.WarnContext(ctx, "there is no administrator: set admin.bootstrap_key_file to a file with a whole key; a serve on SQLite with a fresh data folder makes one")
		return nil
	default:
		// The file comes first: a key that was stored and then lost with the
		// process would lock everybody out.
		if given, err = leaveKey(path, format); err != nil {
			return fmt.Errorf("first administrator's key can't be left in %s: %w", path, err)
		}
	}
	_, made, err := keys.Bootstrap(ctx, given)
	if err != nil {
		return err
	}
	if made && c.Admin.BootstrapKeyFile == "" {
		log.InfoContext(ctx, "the first administrator's key is in a file", "file", path)
	}
	return nil
}

// leaveKey returns the key in the file, which is made if it is not there.
func leaveKey(path string, format *authz.KeyFormat) (authz.Secret, error) {
	if key, err := readKey(path); !errors.Is(err, fs.ErrNotExist) {
		return key, err
	}
	key, _, err := format.Generate(format.Environments()[0], rand.Reader)
	if err != nil {
		return authz.Secret{}, err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return authz.Secret{}, err
	}
	if err := config.KeepSecret(path, key.Reveal()+"\n", 0o600); errors.Is(err, fs.ErrExist) {
		return readKey(path) // another process was sooner
	} else if err != nil {
		return authz.Secret{}, err
	}
	return key, nil
}

func readKey(path string) (authz.Secret, error) {
	text, err := os.ReadFile(path)
	return authz.NewSecret(strings.TrimSpace(string(text))), err
}
