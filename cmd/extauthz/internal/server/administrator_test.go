package server

import (
	"bytes"
	"context"
	"crypto/rand"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"extauthz/authz"
	"extauthz/authz/keyring"
	"extauthz/cmd/extauthz/internal/config"
	"extauthz/models"
)

type quiet struct{}

func (quiet) Changed(context.Context, []authz.Change) {}

// TestEnsureAdministrator_ARevokedOneIsNoOutage: whoever revokes the only administrator
// finds a service that starts, says so, and can be managed again.
func TestEnsureAdministrator_ARevokedOneIsNoOutage(t *testing.T) {
	for _, from := range []string{"the data folder", "a file"} {
		t.Run(from, func(t *testing.T) {
			must := func(err error) {
				t.Helper()
				if err != nil {
					t.Fatal(err)
				}
			}
			c := config.Defaults()
			c.DataDir = t.TempDir()
			db, err := models.Open(t.Context(), models.Config{Driver: models.SQLite, DSN: filepath.Join(c.DataDir, "test.db")})
			must(err)
			t.Cleanup(func() { must(db.Close()) })
			must(db.Migrate(t.Context()))
			format, err := c.KeyFormat()
			must(err)
			peppers, err := authz.NewPeppers(nil)
			must(err)
			var said bytes.Buffer
			log := slog.New(slog.NewTextHandler(&said, nil))
			keys, err := keyring.New(keyring.Config{Format: format, Peppers: func() *authz.Peppers { return peppers }, Random: rand.Reader,
				Now: time.Now, Store: db, Notifier: quiet{}, Logger: log})
			must(err)
			given := func() string {
				key, _, err := format.Generate("live", rand.Reader)
				must(err)
				return key.Reveal()
			}
			path := filepath.Join(c.DataDir, AdminKeyFile)
			if from == "a file" {
				c.Admin.BootstrapKeyFile = path
				must(os.WriteFile(path, []byte(given()), 0o600))
			}
			there := func() string {
				must(ensureAdministrator(t.Context(), c, db, keys, format, log))
				text, err := os.ReadFile(path)
				must(err)
				parsed, ok := format.Parse(authz.NewSecret(strings.TrimSpace(string(text))))
				if !ok {
					t.Fatal("no key is in the file")
				}
				return strings.Clone(parsed.Prefix)
			}
			first := there()
			if _, err := keys.Revoke(t.Context(), keyring.Principal{System: true}, []string{first}, keyring.RevokeOptions{}); err != nil {
				t.Fatal(err)
			}
			second := there()
			got, err := db.HasAdministrator(t.Context())
			must(err)
			if from == "a file" {
				if got || second != first || !strings.Contains(said.String(), "level=ERROR") || !strings.Contains(said.String(), "admin.bootstrap_key_file") {
					t.Fatalf("there is one: %t; it said %s", got, said.String())
				}
				must(os.WriteFile(path, []byte(given()), 0o600))
				second = there()
				got, err = db.HasAdministrator(t.Context())
				must(err)
			}
			if !got || second == first {
				t.Errorf("there is one: %t; first %s, second %s", got, first, second)
			}
		})
	}
}
