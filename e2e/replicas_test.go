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

// twoReplicas starts two services at once on one Postgres, with the same first
// administrator's key.
func twoReplicas(t *testing.T, more func(dsn string) string) (a, b *parts.Service) {
	t.Helper()
	if testing.Short() {
		t.Skip("needs Postgres")
	}
	return twoReplicasOn(t, parts.StartPostgres(t), more)
}

func twoReplicasOn(t *testing.T, postgres *parts.Postgres, more func(dsn string) string) (a, b *parts.Service) {
	t.Helper()
	s, _ := replicasOn(t, postgres, 2, more)
	return s[0], s[1]
}

// replicasOn starts n services, and returns the first administrator's key too.
func replicasOn(t testing.TB, postgres *parts.Postgres, n int, more func(dsn string) string) (s []*parts.Service, administrator string) {
	t.Helper()
	dsn := postgres.NewDatabase(t)
	file, admin := administratorFile(t)
	configuration := fmt.Sprintf("admin: {bootstrap_key_file: %q}\n%s", file, more(dsn))
	for range n {
		s = append(s, parts.StartService(t, configuration))
	}
	return s, admin.Reveal()
}

// administratorFile writes a key to a file, for use as the first administrator's key and
// by commands.
func administratorFile(t testing.TB) (file string, key authz.Secret) {
	t.Helper()
	format, err := authz.NewKeyFormat(authz.KeyFormatConfig{})
	if err != nil {
		t.Fatal(err)
	}
	key, _, err = format.Generate("live", rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	file = filepath.Join(t.TempDir(), "first.key")
	if err := os.WriteFile(file, []byte(key.Reveal()), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("EXTAUTHZ_TOKEN_FILE", file)
	return file, key
}

func knownToBoth(t *testing.T, a, b *parts.Service) (k parts.Key, checkA, checkB func(path, key string) string) {
	t.Helper()
	checkA, checkB = reasonOf(checker(t, a)), reasonOf(checker(t, b))
	k = a.NewKey("--scope", "orders:read")
	for name, check := range map[string]func(string, string) string{"a": checkA, "b": checkB} {
		if got := check("/orders", k.Key); got != "granted" {
			t.Fatalf("%s: %s", name, got)
		}
	}
	return k, checkA, checkB
}

func refusedSoon(t *testing.T, check func(path, key string) string, key string) {
	t.Helper()
	eventually(t, func() error {
		if got := check("/orders", key); got != "key_revoked" {
			return errors.New("the other replica: " + got)
		}
		return nil
	})
}

// revokedInTime revokes a key on one replica, and checks that the other one refuses it
// within the bound.
func revokedInTime(t *testing.T, a *parts.Service, k parts.Key, checkA, checkB func(path, key string) string) {
	t.Helper()
	a.Must("keys", "revoke", k.ID)
	revoked := time.Now()
	if got := checkA("/orders", k.Key); got != "key_revoked" {
		t.Errorf("the replica that revoked: %s", got)
	}
	refusedSoon(t, checkB, k.Key)
	// The bound is one second; the rest is for a busy machine.
	if took := time.Since(revoked); took > 3*time.Second {
		t.Errorf("the other replica took %v", took)
	}
}

// TestReplicas_OnOnePostgresAgree: a change on one replica takes effect within the lease
// on another one that has cached the key.
func TestReplicas_OnOnePostgresAgree(t *testing.T) {
	a, b := twoReplicas(t, func(dsn string) string { return fmt.Sprintf("database: {driver: postgres, dsn: %q}", dsn) })
	k, checkA, checkB := knownToBoth(t, a, b)
	revokedInTime(t, a, k, checkA, checkB)
	a.Stop()
	b.Stop()
}

// TestReplicas_ListeningNeedsNoPoll: polls and lease are so long here that only the
// database's notification can deliver the change.
func TestReplicas_ListeningNeedsNoPoll(t *testing.T) {
	a, b := twoReplicas(t, func(dsn string) string {
		return fmt.Sprintf("database: {driver: postgres, dsn: %q, listen_dsn: %q}\ncache: {local: {lease: 100s}, feed: {poll: 90s}}", dsn, dsn)
	})
	k, _, checkB := knownToBoth(t, a, b)
	a.Must("keys", "revoke", k.ID)
	refusedSoon(t, checkB, k.Key)
	a.Stop()
	b.Stop()
}
