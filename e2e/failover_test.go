package e2e

import (
	"fmt"
	"testing"
	"time"

	"extauthz/e2e/parts"
)

// TestSentinel_PromotionFailsNoCheck: Redis's master is killed for good and its replica
// takes over, with the data that it had received until then.
func TestSentinel_PromotionFailsNoCheck(t *testing.T) {
	if testing.Short() {
		t.Skip("needs Redis and Postgres")
	}
	sentinel := parts.StartRedisSentinel(t)
	sealing := sealingKeyFile(t)
	a, b := twoReplicas(t, func(dsn string) string {
		return fmt.Sprintf("database: {driver: postgres, dsn: %q}\ncache: {sealing_key_file: %q, redis: {mode: sentinel, sentinel_master: %q, addresses: [%q, %q, %q]}}",
			dsn, sealing, sentinel.Name, sentinel.Addresses[0], sentinel.Addresses[1], sentinel.Addresses[2])
	})
	saysSoon(t, b, `"redis":"up"`)
	live, revoked := keysOf(t, a, b)
	k, checkA, checkB := knownToBoth(t, a, b)
	l := startLoad(t, live, revoked, a, b)
	sentinel.Master.Kill()
	time.Sleep(300 * time.Millisecond) // there is no master at this time
	a.Must("keys", "revoke", k.ID)
	if got := checkA("/orders", k.Key); got != "key_revoked" {
		t.Errorf("the replica that revoked: %s", got)
	}
	refusedSoon(t, checkB, k.Key)
	for _, s := range []*parts.Service{a, b} {
		saysSoon(t, s, `"redis":"up"`)
	}
	eventually(t, func() error {
		role, err := sentinel.Replica.Info("replication")
		return contains(role, "role:master", err)
	})
	l.end(t) // the guarantee is about known keys, and the next line makes them unknown
	// The new master works: one replica reads there what the other has written.
	a.Must("cache", "invalidate", "--all", "--reason", "test")
	for _, check := range []func(string, string) string{checkA, checkB} {
		if got := check("/orders", live[0]) + " " + check("/orders", k.Key); got != "granted key_revoked" {
			t.Error(got)
		}
	}
	eventually(t, func() error {
		keyspace, err := sentinel.Replica.Info("keyspace")
		return contains(keyspace, "db0:keys=", err)
	})
	a.Stop()
	b.Stop()
}
