package server

import (
	"os"
	"path/filepath"
	"testing"
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
