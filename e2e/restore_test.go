package e2e

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"extauthz/e2e/parts"
)

// TestRestore_OlderDatabaseRevivesNoRevokedKey: what replicas and Redis know of the lost
// history has higher versions than what happens in the restored database.
func TestRestore_OlderDatabaseRevivesNoRevokedKey(t *testing.T) {
	if testing.Short() {
		t.Skip("needs Redis and Postgres")
	}
	t.Run("restored from a copy of its files", func(t *testing.T) {
		postgres := parts.StartPostgres(t)
		var restore func() error
		anOlderDatabase(t, postgres, func(dsn string) string { return dsn },
			func() (err error) { restore, err = postgres.Backup(); return err },
			func() error { return restore() })
	})
	t.Run("promoted replica that lagged", func(t *testing.T) {
		primary := parts.StartPostgres(t)
		standby := primary.Standby(t)
		anOlderDatabase(t, primary, func(dsn string) string { return primary.Or(standby, dsn) },
			standby.Detach,
			func() error { return errors.Join(primary.Kill(), standby.Promote()) })
		if err := primary.Start(); err != nil { // its database is dropped with the test
			t.Error(err)
		}
	})
}

func anOlderDatabase(t *testing.T, postgres *parts.Postgres, either func(dsn string) string, keep, bringBack func() error) {
	redis, sealing := parts.StartRedis(t), sealingKeyFile(t)
	a, b := twoReplicasOn(t, postgres, func(dsn string) string {
		return fmt.Sprintf("database: {driver: postgres, dsn: %q, listen_dsn: %q}\ncache: {sealing_key_file: %q, redis: {addresses: [%q]}}",
			either(dsn), either(dsn), sealing, redis.Addr())
	})
	serving := func(s *parts.Service) {
		t.Helper()
		saysSoon(t, s, `"lease_fresh":true`)
		saysSoon(t, s, `"redis":"up"`)
	}
	kept, checkA, checkB := knownToBoth(t, a, b)
	gone, _, _ := knownToBoth(t, a, b)
	a.Must("keys", "revoke", gone.ID)
	time.Sleep(2 * time.Second) // the standby has all of it
	if err := keep(); err != nil {
		t.Fatal(err)
	}
	serving(a)
	serving(b)
	// Everything from here on is lost in the restored database, but is in caches.
	for i := range 4 {
		a.Must("keys", "update", kept.ID, "--name", fmt.Sprint("name", i))
	}
	lost, _, _ := knownToBoth(t, a, b)
	if got := checkA("/orders", kept.Key) + " " + checkB("/orders", kept.Key); got != "granted granted" {
		t.Fatal(got)
	}
	if err := bringBack(); err != nil {
		t.Fatal(err)
	}
	for name, s := range map[string]*parts.Service{"a": a, "b": b} {
		eventually(t, func() error {
			out, errOut, err := s.CLI("cache", "audit", "-o", "json")
			if err != nil || !strings.Contains(out, `"epoch"`) {
				return fmt.Errorf("%s has not noticed: %s%s", name, out, errOut)
			}
			return nil
		})
		serving(s)
	}
	refused := func(check func(path, key string) string, key, reason string) {
		t.Helper()
		eventually(t, func() error {
			if got := check("/orders", key); got != reason {
				return errors.New(got + " instead of " + reason)
			}
			return nil
		})
	}
	a.Must("keys", "revoke", kept.ID)
	if got := checkA("/orders", kept.Key); got != "key_revoked" {
		t.Errorf("the replica that revoked: %s", got)
	}
	refused(checkB, kept.Key, "key_revoked")
	for _, check := range []func(string, string) string{checkA, checkB} {
		refused(check, lost.Key, "unknown_key") // it was made in the lost history
		refused(check, gone.Key, "key_revoked")
	}
	b.Kill()
	b.Restart() // it has only what Redis holds
	serving(b)
	for end := time.Now().Add(2 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		for key, reason := range map[string]string{kept.Key: "key_revoked", gone.Key: "key_revoked", lost.Key: "unknown_key"} {
			if got := checkB("/orders", key) + " " + checkA("/orders", key); got != reason+" "+reason {
				t.Fatalf("%s, want %s: it came back", got, reason)
			}
		}
	}
	a.Stop()
	b.Stop()
}
