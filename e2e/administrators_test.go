package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestAdministrators_AChangeCountsOnEveryReplicaAtOnce: what is taken from an
// administrator on one replica is refused at its next call on another, and two owners on
// two replicas can't leave the service without one.
func TestAdministrators_AChangeCountsOnEveryReplicaAtOnce(t *testing.T) {
	a, b := twoReplicas(t, func(d string) string { return fmt.Sprintf("database: {driver: postgres, dsn: %q}", d) })
	file := filepath.Join(t.TempDir(), "carol.key")
	a.Must("admins", "create", "carol", "--role", "manager", "--grant-scope", "orders:*", "--grant-project", "*", "--save", file)
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("%v, %v", info, err)
	}
	carol := func(args ...string) (string, error) {
		out, errOut, err := b.CLI(append([]string{"--token-file", file}, args...)...)
		return out + errOut, err
	}
	eventually(t, func() error { _, err := carol("keys", "list"); return err }) // within the lease
	if said, err := carol("keys", "create", "--user", "u", "--name", "n", "--scope", "orders:read"); err != nil {
		t.Fatalf("%v: %s", err, said)
	}
	a.Must("admins", "update", "carol", "--role", "auditor")
	if said, err := carol("keys", "create", "--user", "u", "--name", "n", "--scope", "orders:read"); err == nil || !strings.Contains(said, "extauthz/keys:create") {
		t.Errorf("after its role was taken: %v: %s", err, said)
	}
	a.Must("admins", "disable", "carol")
	if said, err := carol("keys", "list"); err == nil {
		t.Errorf("after it was disabled: %s", said)
	}
	a.Must("admins", "enable", "carol")
	a.Must("admins", "remove", "carol", "--yes")
	if said, err := carol("keys", "list"); err == nil {
		t.Errorf("after it was removed: %s", said)
	}
	if _, errOut, err := b.CLI("admins", "remove", "first-administrator", "--yes"); err == nil || !strings.Contains(errOut, "no working administrator would be left") {
		t.Errorf("the last owner: %v: %s", err, errOut)
	}
	if out := b.Must("audit", "-o", "wide"); strings.Count(out, "admin.") < 5 || !strings.Contains(out, "first-administrator") {
		t.Errorf("audit: %s", out)
	}
}
