package e2e

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"extauthz/e2e/parts"
)

// TestPgBouncer_ReplicasAgree: everything goes through PgBouncer, or everything except
// LISTEN. PgBouncer has fewer connections than the replicas open.
func TestPgBouncer_ReplicasAgree(t *testing.T) {
	if testing.Short() {
		t.Skip("needs Postgres and PgBouncer")
	}
	postgres := parts.StartPostgres(t)
	_, documented, _ := strings.Cut(parts.Fenced(t, "../docs/deployment.md", "ini")[0], "[pgbouncer]\n")
	var settings []string
	for line := range strings.Lines(documented) {
		if !strings.HasPrefix(line, "listen_") && !strings.HasPrefix(line, "auth_") { // the test sets these itself
			settings = append(settings, strings.TrimSpace(line))
		}
	}
	for name, c := range map[string]struct {
		listen func(direct, through string) string // database.listen_dsn
		how    string                              // how changes arrive, by /readyz
		says   string                              // a text in the log
		killed bool                                // kills the pooler under load
	}{
		"all through it":    {func(_, _ string) string { return "" }, "polled", "", true},
		"LISTEN round it":   {func(direct, _ string) string { return direct }, "listening", "listening for changes", false},
		"LISTEN through it": {func(_, through string) string { return through }, "polled", "database.listen_dsn", false},
	} {
		t.Run(name, func(t *testing.T) {
			pooler := parts.StartPgBouncer(t, postgres, append(settings, "default_pool_size = 3")...)
			a, b := twoReplicasOn(t, postgres, func(dsn string) string {
				return fmt.Sprintf("database: {driver: postgres, dsn: %q, listen_dsn: %q}", pooler.Through(dsn), c.listen(dsn, pooler.Through(dsn)))
			})
			eventually(t, func() error { return contains(b.Log(), c.says, nil) })
			saysSoon(t, b, `"changes":{"how":"`+c.how+`","poll":"250ms"}`)

			k, checkA, checkB := knownToBoth(t, a, b)
			revokedInTime(t, a, k, checkA, checkB)
			if c.killed {
				live, revoked := keysOf(t, a, b)
				l := startLoad(t, live, revoked, a, b)
				pooler.Kill()
				time.Sleep(faultLasts)
				pooler.Restart()
				saysSoon(t, a, `"state":"serving"`)
				saysSoon(t, b, `"lease_fresh":true`)
				time.Sleep(recoverTime)
				k, checkA, checkB = knownToBoth(t, a, b)
				revokedInTime(t, a, k, checkA, checkB)
				l.end(t)
			}
			for _, s := range []*parts.Service{a, b} {
				s.Stop()
				for _, symptom := range []string{"42P05", "26000", "prepared statement"} {
					if strings.Contains(s.Log(), symptom) {
						t.Errorf("the log has %s", symptom)
					}
				}
			}
		})
	}
}

// TestPgBouncer_ConcurrentMigrations: there are more of them than the pooler has
// connections.
func TestPgBouncer_ConcurrentMigrations(t *testing.T) {
	s := service(t, ``) // for its program
	postgres := parts.StartPostgres(t)
	dsn := parts.StartPgBouncer(t, postgres, "default_pool_size = 2").Through(postgres.NewDatabase(t))
	var group sync.WaitGroup
	for range 6 {
		cmd := s.Command("migrate", "up")
		cmd.Env = append(cmd.Env, "EXTAUTHZ_DATABASE__DRIVER=postgres", "EXTAUTHZ_DATABASE__DSN="+dsn)
		group.Go(func() {
			if said, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(said), "current") {
				t.Error(errors.Join(err, errors.New(string(said))))
			}
		})
	}
	group.Wait()
}
