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
	"extauthz/authz/administrators"
	"extauthz/cmd/extauthz/internal/config"
	"extauthz/models"
)

type quiet struct{}

func (quiet) Changed(context.Context, []authz.Change) {}

// firstStart holds what a service's start needs to look for an administrator.
type firstStart struct {
	*testing.T
	c      *config.Config
	db     *models.DB
	admins *administrators.Service
	format *authz.KeyFormat
	logged bytes.Buffer
}

func newFirstStart(t *testing.T) *firstStart {
	s := &firstStart{T: t, c: config.Defaults()}
	s.c.DataDir = t.TempDir()
	var err error
	s.db, err = models.Open(t.Context(), models.Config{Driver: models.SQLite, DSN: filepath.Join(s.c.DataDir, "test.db")})
	s.must(err)
	t.Cleanup(func() { s.must(s.db.Close()) })
	s.must(s.db.Migrate(t.Context()))
	s.format, err = s.c.KeyFormat()
	s.must(err)
	peppers, err := authz.NewPeppers(nil)
	s.must(err)
	s.admins, err = administrators.New(administrators.Config{Format: s.format, Peppers: func() *authz.Peppers { return peppers }, Random: rand.Reader,
		Now: time.Now, Store: s.db, Notifier: quiet{}, Logger: slog.New(slog.NewTextHandler(&s.logged, nil))})
	s.must(err)
	return s
}

func (s *firstStart) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

func (s *firstStart) key() string {
	key, _, err := s.format.Generate("live", rand.Reader)
	s.must(err)
	return key.Reveal()
}

// start runs this step of a start, and returns whether there is an owner then, and the
// log.
func (s *firstStart) start() (owned bool, logged string) {
	s.logged.Reset()
	ensureAdministrator(s.Context(), s.c, s.db, s.admins, s.format, slog.New(slog.NewTextHandler(&s.logged, nil)))
	owned, err := s.admins.HasOwner(s.Context())
	s.must(err)
	return owned, s.logged.String()
}

// end changes all administrators and their keys in the way that SQL could; the API would
// keep the last owner.
func (s *firstStart) end(change func(*authz.Administrator, *authz.Record)) {
	_, err := s.db.ChangeAdministration(s.Context(), func(a authz.Administration) (c authz.AdministrationChange, _ error) {
		for _, x := range a.Administrators {
			for _, k := range a.FamilyKeys(x.Family) {
				change(&x, &k.Record)
				c.UpdateKeys = append(c.UpdateKeys, k.Record)
			}
			c.Put = append(c.Put, x)
		}
		return c, nil
	})
	s.must(err)
}

func (s *firstStart) write(path, text string) { s.must(os.WriteFile(path, []byte(text), 0o600)) }

// TestEnsureAdministrator_ARevokedOneIsNoOutage: after the only administrator was
// revoked, the service still starts, logs the problem, and can be managed again.
func TestEnsureAdministrator_ARevokedOneIsNoOutage(t *testing.T) {
	revoke := func(_ *authz.Administrator, k *authz.Record) { k.Active, k.RevokedAt = false, time.Now() }
	t.Run("in the data folder", func(t *testing.T) {
		s := newFirstStart(t)
		path := filepath.Join(s.c.DataDir, AdminKeyFile)
		owned, _ := s.start()
		first, err := os.ReadFile(path)
		s.must(err)
		s.end(revoke)
		again, logged := s.start()
		second, err := os.ReadFile(path)
		s.must(err)
		if !owned || !again || bytes.Equal(first, second) {
			t.Errorf("owned first %t, then %t, by another key: %t; logged %s", owned, again, !bytes.Equal(first, second), logged)
		}
	})
	t.Run("in a given file", func(t *testing.T) {
		s := newFirstStart(t)
		s.c.Admin.BootstrapKeyFile = filepath.Join(t.TempDir(), "key")
		s.write(s.c.Admin.BootstrapKeyFile, s.key())
		s.start()
		s.end(revoke)
		if owned, logged := s.start(); owned || !strings.Contains(logged, "level=ERROR") || !strings.Contains(logged, "admin.bootstrap_key_file") || !strings.Contains(logged, "extauthz admin recover") {
			t.Errorf("owned %t; logged %s", owned, logged)
		}
		s.write(s.c.Admin.BootstrapKeyFile, s.key())
		if owned, logged := s.start(); !owned || strings.Contains(logged, "level=ERROR") {
			t.Errorf("with a new key: owned %t; logged %s", owned, logged)
		}
	})
}

// TestEnsureAdministrator_NoFileIsAnOutage: whatever is in the file's place, the start
// goes on. If an administrator exists, nothing is logged; if none does, an error is.
func TestEnsureAdministrator_NoFileIsAnOutage(t *testing.T) {
	full := func(s *firstStart) string { return s.key() + s.key() }
	for name, put := range map[string]func(s *firstStart, path string){
		"missing":        func(*firstStart, string) {},
		"a folder":       func(s *firstStart, path string) { s.must(os.Mkdir(path, 0o700)) },
		"empty":          func(s *firstStart, path string) { s.write(path, "") },
		"no key":         func(s *firstStart, path string) { s.write(path, "\x00\xff") },
		"two keys":       func(s *firstStart, path string) { s.write(path, full(s)) },
		"another brand":  func(s *firstStart, path string) { s.write(path, "xx"+s.key()[2:]) },
		"broken link":    func(s *firstStart, path string) { s.must(os.Symlink("/none/at/all", path)) },
		"another's part": func(s *firstStart, path string) { s.write(path, s.key()[:20]) },
	} {
		for _, where := range []string{"given", "in the data folder"} {
			t.Run(name+" "+where, func(t *testing.T) {
				s := newFirstStart(t)
				path := filepath.Join(s.c.DataDir, AdminKeyFile)
				if where == "given" {
					path = filepath.Join(t.TempDir(), "key")
					s.c.Admin.BootstrapKeyFile = path
				} else if name == "missing" {
					return // the start would create it
				}
				put(s, path)
				if owned, logged := s.start(); owned || !strings.Contains(logged, "level=ERROR") || !strings.Contains(logged, "extauthz admin recover") {
					t.Errorf("owned %t; logged %s", owned, logged)
				}
				_, _, err := s.admins.Recover(t.Context(), administrators.Recovery{Key: authz.NewSecret(s.key()), By: "t"})
				s.must(err)
				if owned, logged := s.start(); !owned || logged != "" {
					t.Errorf("beside an administrator: owned %t; logged %s", owned, logged)
				}
			})
		}
	}
}

// TestEnsureAdministrator_LogsWhenNoneWorks: a key that is disabled, expired or limited
// remains the administrator, so that no other key becomes one as time passes. But an
// error is logged.
func TestEnsureAdministrator_LogsWhenNoneWorks(t *testing.T) {
	for name, change := range map[string]func(*authz.Administrator, *authz.Record){
		"disabled":    func(x *authz.Administrator, _ *authz.Record) { x.Active = false },
		"expired":     func(x *authz.Administrator, _ *authz.Record) { x.ExpiresAt = time.Now().Add(-time.Hour) },
		"limited":     func(x *authz.Administrator, _ *authz.Record) { x.Grants = authz.Grants{} },
		"expired key": func(_ *authz.Administrator, k *authz.Record) { k.ExpiresAt = time.Now().Add(-time.Hour) },
	} {
		s := newFirstStart(t)
		s.start()
		s.end(change)
		path := filepath.Join(s.c.DataDir, AdminKeyFile)
		before, err := os.ReadFile(path)
		s.must(err)
		owned, logged := s.start()
		after, err := os.ReadFile(path)
		s.must(err)
		if owned || !bytes.Equal(before, after) || !strings.Contains(logged, "level=ERROR") || !strings.Contains(logged, "extauthz admin recover") {
			t.Errorf("%s: owned %t, another key %t; logged %s", name, owned, !bytes.Equal(before, after), logged)
		}
	}
}
