package server

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"extauthz/cmd/extauthz/internal/conditions"
	"extauthz/cmd/extauthz/internal/config"
)

// TestFileDigest_IsWithheldWhereTheFileHoldsASecret: the ops listener requires no key.
func TestFileDigest_IsWithheldWhereTheFileHoldsASecret(t *testing.T) {
	path := filepath.Join(t.TempDir(), "extauthz.yaml")
	for text, shown := range map[string]bool{
		"log: {level: debug}":                                   true,
		"database: {driver: postgres, dsn_file: /run/dsn}":      true,
		"cache: {redis: {password_file: /run/password}}":        true,
		"database: {dsn: \"host=db password=x\"}":               false,
		"cache:\n  redis:\n    password: x\n":                   false,
		"cache: {redis: {\"sentinel_password\" : x}}":           false,
		"databse: {dns: \"postgres://extauthz:x@db/extauthz\"}": false,
		"routes: [": true, // faulty, but a deployment has to recognise it
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if digest := fileDigest(path); (digest != "") != shown {
			t.Errorf("%q: digest %q", text, digest)
		}
	}
	if digest := fileDigest(path + ".none"); digest != "" {
		t.Errorf("no file: digest %q", digest)
	}
}

// TestReload_TheSameRefusalIsReportedOnce: a refused configuration is tried again and again,
// until it is accepted.
func TestReload_TheSameRefusalIsReportedOnce(t *testing.T) {
	t.Chdir(t.TempDir())
	settings, err := config.Load(config.Options{Path: "none.yaml"})
	if err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	var fault error
	s, err := prepare(Config{Settings: settings, Logger: slog.New(slog.NewTextHandler(&log, nil)), Load: func() (*config.Config, error) { return settings, fault }})
	if err != nil {
		t.Fatal(err)
	}
	refused := func(want int) {
		t.Helper()
		if n := strings.Count(log.String(), "configuration was not reloaded"); n != want {
			t.Errorf("%d refusals are logged, want %d", n, want)
		}
		if present := s.conditions.Present(conditions.ConfigRefused); present != (fault != nil) {
			t.Errorf("after %v the condition is there: %v", fault, present)
		}
	}
	s.reloadRefused() // nothing was refused: nothing is loaded
	refused(0)
	fault = errors.New("the key does not match")
	s.Reload()
	refused(1)
	s.reloadRefused()
	s.reloadRefused()
	refused(1)
	s.Reload() // at an operator's request it is reported again
	refused(2)
	fault = errors.New("another reason")
	s.reloadRefused()
	refused(3)
	fault = nil
	s.reloadRefused()
	refused(3)
	if before := strings.Count(log.String(), "configuration reloaded"); before != 1 {
		t.Errorf("%d reloads are logged, want 1", before)
	}
	s.reloadRefused()
	if n := strings.Count(log.String(), "configuration reloaded"); n != 1 {
		t.Errorf("%d reloads are logged after another try, want 1", n)
	}
}
