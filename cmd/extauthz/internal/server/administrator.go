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
	"extauthz/authz/administrators"
	"extauthz/authz/keyring"
	"extauthz/cmd/extauthz/internal/config"
	"extauthz/models"
)

// AdminKeyFile is where a first start leaves the first administrator's key,
// below the data folder.
const AdminKeyFile = "admin.key"

// wayOut is what to do where no key manages keys.
const wayOut = "run extauthz admin recover; where there is no administrator at all, a new key in admin.bootstrap_key_file, such as extauthz secrets create makes, and a restart do too"

// ensureAdministrator makes the first administrator where there is none. A failure is
// logged and returned as no error: checks do not need an administrator. again reports a
// fault of the database that may pass.
func ensureAdministrator(ctx context.Context, c *config.Config, db *models.DB, admins *administrators.Service, format *authz.KeyFormat, log *slog.Logger) (again bool) {
	if err := makeAdministrator(ctx, c, db, admins, format, log); err != nil {
		log.ErrorContext(ctx, "the first administrator was not made: checks are answered, keys can't be managed: "+wayOut, "file", c.Admin.BootstrapKeyFile, "error", err)
		f, _ := models.FaultOf(err)
		return f.Passes()
	}
	if has, err := admins.HasOwner(ctx); err != nil || !has {
		log.ErrorContext(ctx, "no administrator can manage all keys just now, since each is disabled, expired, limited, or has no key that works: checks are answered: "+wayOut, "error", err)
	}
	return false
}

// makeAdministrator makes the first administrator with the configured key, else, on
// SQLite, with one that is left in the data folder. With Postgres no replica
// invents one: several may start at once, and their folders are not the operator's. A
// revoked key in the data folder gives way to a new one.
func makeAdministrator(ctx context.Context, c *config.Config, db *models.DB, admins *administrators.Service, format *authz.KeyFormat, log *slog.Logger) error {
	if there, err := db.HasAdministrator(ctx); err != nil || there {
		return err
	}
	given, err := c.BootstrapKey()
	switch {
	case err != nil:
		return err
	case given.Len() > 0:
		_, _, err = admins.Bootstrap(ctx, given)
		return err
	case c.Database.Driver != models.SQLite:
		return errors.New("admin.bootstrap_key_file is not set, and a service on Postgres invents no key")
	}
	return leaveAdministrator(ctx, filepath.Join(c.DataDir, AdminKeyFile), admins, format, log)
}

// leaveAdministrator makes the first administrator with the key in the file. The file
// comes first: a key that was stored and then lost with the process would leave
// no administrator.
func leaveAdministrator(ctx context.Context, path string, admins *administrators.Service, format *authz.KeyFormat, log *slog.Logger) error {
	for {
		given, err := leaveKey(path, format)
		if err != nil {
			return fmt.Errorf("first administrator's key can't be left in %s: %w", path, err)
		}
		_, made, err := admins.Bootstrap(ctx, given)
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

// leaveKey returns the key in the file, which is created if it does not exist.
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
	key := authz.NewSecret(strings.TrimSpace(string(text)))
	if err == nil && key.Len() == 0 { // and a generated key would be in no file
		err = errors.New("the file is empty: remove it, to have a key made")
	}
	return key, err
}
