package e2e

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"extauthz/authz"
	"extauthz/e2e/parts"
)

// TestReplicasOnOnePostgresAgree: what one replica changes, another one, with
// the key in its cache, knows within the lease; both started at once with the
// same first administrator's key.
func TestReplicasOnOnePostgresAgree(t *testing.T) {
	if testing.Short() {
		t.Skip("needs Postgres")
	}
	dsn := parts.StartPostgres(t).NewDatabase(t)
	format, err := authz.NewKeyFormat(authz.KeyFormatConfig{})
	if err != nil {
		t.Fatal(err)
	}
	admin, _, err := format.Generate("live", rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "first.key")
	if err := os.WriteFile(file, []byte(admin.Reveal()), 0o600); err != nil {
		t.Fatal(err)
	}
	configuration := fmt.Sprintf("database: {driver: postgres, dsn: %q}\nadmin: {bootstrap_key_file: %q}\n", dsn, file)
	t.Setenv("EXTAUTHZ_TOKEN_FILE", file)
	a, b := parts.StartService(t, configuration), parts.StartService(t, configuration)
	checkA, checkB := checker(t, a), checker(t, b)

	k := a.NewKey("--scope", "orders:read")
	for name, check := range map[string]func(string, string) string{"a": reasonOf(checkA), "b": reasonOf(checkB)} {
		if got := check("/orders", k.Key); got != "granted" {
			t.Fatalf("%s: %s", name, got)
		}
	}
	a.Must("keys", "revoke", k.ID)
	revoked := time.Now()
	if got := reason(checkA("/orders", k.Key)); got != "key_revoked" {
		t.Errorf("the replica that revoked: %s", got)
	}
	eventually(t, func() error {
		if got := reason(checkB("/orders", k.Key)); got != "key_revoked" {
			return errors.New("the other replica: " + got)
		}
		return nil
	})
	// The bound is a second; the machine may be busy.
	if took := time.Since(revoked); took > 3*time.Second {
		t.Errorf("the other replica took %v", took)
	}
	a.Stop()
	b.Stop()
}
