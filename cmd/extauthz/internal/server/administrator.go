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
//
// A given key that can't be one, since it was revoked or another key has its prefix,
// is logged and no error: checks do not need an administrator. A revoked key in the
// data folder gives way to a new one.
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
		return leaveAdministrator(ctx, path, keys, format, log)
	}
	_, _, err = keys.Bootstrap(ctx, given)
	if errors.Is(err, keyring.ErrRevoked) || errors.Is(err, authz.ErrConflict) {
		log.ErrorContext(ctx, "there is no administrator, and the given key can't be one: checks are answered, keys can't be managed: write a new key into admin.bootstrap_key_file, such as extauthz secrets create makes, and restart",
			"file", c.Admin.BootstrapKeyFile, "error", err)
		return nil
	}
	return err
}

// leaveAdministrator makes the first administrator with the key in the file. The file
// comes first: a key that was stored and then lost with the process would lock
// everybody out.
func leaveAdministrator(ctx context.Context, path string, keys *keyring.Service, format *authz.KeyFormat, log *slog.Logger) error {
	for {
		given, err := leaveKey(path, format)
		if err != nil {
			return fmt.Errorf("first administrator's key can't be left in %s: %w", path, err)
		}
		_, made, err := keys.Bootstrap(ctx, given)
		if errors.Is(err, keyring.ErrRevoked) {
			log.WarnContext(ctx, "the administrator's key in the data folder was revoked: another one takes its place", "file", path)
			if err := os.Remove(path); err != nil {
				return err
			}
			continue
		}
		if made {
			log.InfoContext(ctx, "the first administrator's key is in a file", "file", path)
		}
		return err
	}
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
