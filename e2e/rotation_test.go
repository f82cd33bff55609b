package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"extauthz/e2e/parts"
)

// TestRotation_PasswordsChangeUnderLoad: the passwords of Postgres and Redis change again
// and again, without effect on checks, changes and the listener. Postgres has only the
// new password at once, as by ALTER ROLE. Redis accepts the old and the new one for a
// moment, as its ACLs allow.
func TestRotation_PasswordsChangeUnderLoad(t *testing.T) {
	if testing.Short() {
		t.Skip("needs Redis and Postgres")
	}
	postgres, redis := parts.StartPostgres(t), parts.StartRedis(t)
	dir := t.TempDir()
	password := func(n int) string { return fmt.Sprintf("rotated-%d-%d", time.Now().UnixNano(), n) }
	write := func(name, text string) {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := errors.Join(os.WriteFile(path+".new", []byte(text), 0o600), os.Rename(path+".new", path)); err != nil {
			t.Fatal(err)
		}
	}
	acl := func(words ...string) {
		t.Helper()
		if line, err := redis.Do(append([]string{"ACL", "SETUSER", "app"}, words...)...); err != nil || line != "+OK" {
			t.Fatalf("ACL SETUSER: %s, %v", line, err)
		}
	}
	if err := errors.Join(postgres.Exec("CREATE ROLE app LOGIN CREATEROLE"), postgres.RequirePassword("app")); err != nil {
		t.Fatal(err)
	}
	acl("on", "~*", "&*", "+@all")
	var dsn string
	var old string
	var all []string
	rotate := func(n int) {
		t.Helper()
		next := password(n)
		all = append(all, next)
		acl(">" + next)
		if err := postgres.Exec("ALTER ROLE app PASSWORD '" + next + "'"); err != nil {
			t.Fatal(err)
		}
		write("dsn", strings.Replace(dsn, "//app@", "//app:"+next+"@", 1))
		write("pgpass", "*:*:*:*:"+next+"\n")
		write("redis", next+"\n")
		if old != "" {
			acl("<" + old)
		}
		old = next
	}
	sealing := sealingKeyFile(t)
	a, b := twoReplicasOn(t, postgres, func(superuser string) string {
		name := superuser[strings.LastIndex(superuser, "/")+1 : strings.Index(superuser, "?")]
		if err := postgres.Exec("ALTER DATABASE " + name + " OWNER TO app"); err != nil {
			t.Fatal(err)
		}
		dsn = strings.Replace(superuser, "//postgres@", "//app@", 1)
		rotate(0)
		write("listen", dsn+"&passfile="+filepath.Join(dir, "pgpass"))
		return fmt.Sprintf("on_error: deny\ndatabase: {driver: postgres, dsn_file: %q, listen_dsn_file: %q}\ncache: {sealing_key_file: %q, redis: {addresses: [%q], username: app, password_file: %q}}",
			filepath.Join(dir, "dsn"), filepath.Join(dir, "listen"), sealing, redis.Addr(), filepath.Join(dir, "redis"))
	})
	saysSoon(t, b, `"redis":"up"`)
	saysSoon(t, b, `"how":"listening"`)
	live, revoked := keysOf(t, a, b)
	checkB := reasonOf(checker(t, b))
	l := startLoad(t, live, revoked, a, b)
	for n := range rotations {
		time.Sleep(rotationEvery)
		rotate(n + 1)
		// The key is made and checked before it is cached, for which a check has 150 ms.
		// On a machine that is too busy for that, the check is repeated.
		k := a.NewKey("--scope", "orders:read")
		eventually(t, func() error {
			if got := checkB("/orders", k.Key); got != "granted" {
				return fmt.Errorf("a new key: %s", got)
			}
			return nil
		})
		a.Must("keys", "revoke", k.ID)
		refusedSoon(t, checkB, k.Key)
	}
	time.Sleep(min(rotationEvery, 3*time.Second))
	l.end(t)
	for _, s := range []*parts.Service{a, b} {
		saysSoon(t, s, `"redis":"up"`)
		saysSoon(t, s, `"how":"listening"`)
		s.Stop()
		for _, symptom := range append(all, "28P01", "WRONGPASS", "no change notifications", "Redis does not answer", `"level":"ERROR"`) {
			if strings.Contains(s.Log(), symptom) {
				t.Errorf("the log holds %q", symptom)
			}
		}
	}
}
