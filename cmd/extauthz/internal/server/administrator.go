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

// AdminKeyFile is the file, in the data folder, to which a first start writes the first
// administrator's key.
const AdminKeyFile = "admin.key"

// administratorRemedy is the remedy if no administrator can manage keys.
const administratorRemedy = "run extauthz admin recover; where there is no administrator at all, a new key in admin.bootstrap_key_file, such as extauthz secrets create makes, and a restart do too"

// ensureAdministrator makes the first administrator if there is none. It logs a failure
// instead of returning an error, because checks need no administrator. again reports that
// a fault of the database, which may pass, prevented it.
func ensureAdministrator(ctx context.Context, c *config.Config, db *models.DB, admins *administrators.Service, format *authz.KeyFormat, log *slog.Logger) (again bool) {
	if err := makeAdministrator(ctx, c, db, admins, format, log); err != nil {
		log.ErrorContext(ctx, "the first administrator was not made: checks are answered, keys can't be managed: "+administratorRemedy, "file", c.Admin.BootstrapKeyFile, "error", err)
		f, _ := models.FaultOf(err)
		return f.Passes()
	}
	if has, err := admins.HasOwner(ctx); err != nil || !has {
		log.ErrorContext(ctx, "no administrator can manage all keys just now, since each is disabled, expired, limited, or has no key that works: checks are answered: "+administratorRemedy, "error", err)
	}
	return false
}

// makeAdministrator makes the first administrator with the configured key. Without one,
// on SQLite, it uses a key that it writes to the data folder. A replica on Postgres
// generates no key: several replicas may start at once, and the operator may not see
// their folders. A revoked key in the data folder is replaced by a new one.
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
	return makeAdministratorFromFile(ctx, filepath.Join(c.DataDir, AdminKeyFile), admins, format, log)
}

// makeAdministratorFromFile makes the first administrator with the key in the file. It
// writes the file first: if the process ended after the key was stored but before the
// file was written, the administrator's key would be lost.
func makeAdministratorFromFile(ctx context.Context, path string, admins *administrators.Service, format *authz.KeyFormat, log *slog.Logger) error {
	for {
		given, err := readOrCreateKey(path, format)
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

// readOrCreateKey returns the key in the file. It creates the file if that does not
// exist.
func readOrCreateKey(path string, format *authz.KeyFormat) (authz.Secret, error) {
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
		return readKey(path) // another process was faster
	} else if err != nil {
		return authz.Secret{}, err
	}
	return key, nil
}

func readKey(path string) (authz.Secret, error) {
	text, err := os.ReadFile(path)
	key := authz.NewSecret(strings.TrimSpace(string(text)))
	if err == nil && key.Len() == 0 { // with an empty key, Bootstrap would generate one that no file has
		err = errors.New("the file is empty: remove it, to have a key made")
	}
	return key, err
}
