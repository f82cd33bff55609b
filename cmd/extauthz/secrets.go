package main

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"extauthz/authz"
	"extauthz/cmd/extauthz/internal/config"
)

// randomSecretLength is the length of a generated secret before its encoding, in random
// bytes. A pepper and a sealing key need at least 32.
const randomSecretLength = 36

// The modes of files with secrets: for secrets that only this service reads, and for
// those that another program, such as the database's server, reads as a member of the
// group.
const (
	ownSecret    fs.FileMode = 0o600
	sharedSecret fs.FileMode = 0o640
)

func secretsCommand(g *globals) *cobra.Command {
	create := &cobra.Command{
		Use: "create FOLDER", Short: "Create the secrets of a new installation, each in a file", Args: exactly(1),
		Long: `Create the secrets of a new installation, each in a file of its own below FOLDER.
An existing file is left unchanged, so that a second call changes nothing.

  admin.key          the first administrator's key, for admin.bootstrap_key_file
  pepper             for keys.pepper_files
  sealing.key        for cache.sealing_key_file
  database.password  for the database's server
  database.pgpass    the same for database.dsn: postgres://USER@HOST/NAME?passfile=FILE
  redis.password     for Redis and cache.redis.password_file

The passwords of database and Redis can be read by the folder's group, the rest
by its owner alone.`,
		Example: "  extauthz secrets create /run/extauthz",
		RunE: func(c *cobra.Command, args []string) error {
			settings, err := g.load()
			if err != nil {
				return err
			}
			format, err := settings.KeyFormat()
			if err != nil {
				return err
			}
			made, err := createSecrets(args[0], format)
			if err != nil {
				return err
			}
			return g.show(c, made, func(w *tabwriter.Writer) {
				row(w, "FILE", "STATE")
				for _, s := range made {
					row(w, s.File, s.State)
				}
			})
		},
	}
	return group("secrets", "What a new installation keeps secret", create)
}

// secretState is what became of one file.
type secretState struct {
	File  string `json:"file"`
	State string `json:"state"`
}

func createSecrets(folder string, format *authz.KeyFormat) ([]secretState, error) {
	if err := os.MkdirAll(folder, 0o750); err != nil {
		return nil, fmt.Errorf("secrets can't be kept in %s: %w", folder, err)
	}
	randomText := func() (string, error) {
		b := make([]byte, randomSecretLength)
		_, err := rand.Read(b)
		return base64.RawURLEncoding.EncodeToString(b), err
	}
	var states []secretState
	for _, s := range []struct {
		name   string
		mode   fs.FileMode
		secret func() (string, error)
	}{
		{"admin.key", ownSecret, func() (string, error) {
			key, _, err := format.Generate(format.Environments()[0], rand.Reader)
			return key.Reveal(), err
		}},
		{"pepper", ownSecret, randomText},
		{"sealing.key", ownSecret, randomText},
		{"database.password", sharedSecret, randomText},
		{"database.pgpass", ownSecret, func() (string, error) {
			password, err := os.ReadFile(filepath.Join(folder, "database.password"))
			return "*:*:*:*:" + string(password), err
		}},
		{"redis.password", sharedSecret, randomText},
	} {
		path, state := filepath.Join(folder, s.name), "made"
		switch _, err := os.Lstat(path); {
		case err == nil:
			state = "was there"
		case !errors.Is(err, fs.ErrNotExist):
			return nil, err
		default:
			secret, err := s.secret()
			if err != nil {
				return nil, err
			}
			if err := config.KeepSecret(path, secret, s.mode); err != nil {
				return nil, err
			}
		}
		states = append(states, secretState{path, state})
	}
	return states, nil
}
