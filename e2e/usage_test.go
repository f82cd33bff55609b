package e2e

import (
	"context"
	"database/sql"
	"fmt"
	"sync"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"extauthz/e2e/parts"
)

// usageBound is the documented limit of usage that a killed process loses.
const usageBound = 5 * time.Second

// uses is a load of checks of one key on some replicas, with the bounds of what may be
// stored of it.
type uses struct {
	stop    context.CancelFunc
	running sync.WaitGroup

	mu     sync.Mutex
	sure   map[*parts.Service][]time.Time // answered checks: they are counted
	made   int                            // the same, of processes that have ended
	unsure int                            // checks without an answer: counted or not
	lost   int                            // answered checks that a kill may have lost
}

func startUses(t *testing.T, key string, services ...*parts.Service) *uses {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	u := &uses{stop: stop, sure: map[*parts.Service][]time.Time{}}
	for _, s := range services {
		c, err := grpc.NewClient("passthrough:///"+s.GRPC, grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		client := authv3.NewAuthorizationClient(c)
		for range 4 {
			u.running.Go(func() {
				for ctx.Err() == nil {
					call, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
					res, err := client.Check(call, checkRequest(key))
					cancel()
					u.note(s, err, res)
					time.Sleep(5 * time.Millisecond) // the load's pace
				}
			})
		}
	}
	t.Cleanup(stop)
	return u
}

func (u *uses) note(s *parts.Service, err error, res *authv3.CheckResponse) {
	u.mu.Lock()
	defer u.mu.Unlock()
	switch {
	case err != nil:
		u.unsure++
	case reason(res) == "granted":
		u.sure[s] = append(u.sure[s], time.Now())
	}
}

// kill ends a replica by SIGKILL: the uses of the last seconds may be lost.
func (u *uses) kill(s *parts.Service) {
	from := time.Now().Add(-usageBound)
	s.Kill()
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, at := range u.sure[s] {
		if at.After(from) {
			u.lost++
		}
	}
	u.made += len(u.sure[s])
	u.sure[s] = nil
}

func (u *uses) end() (sure, unsure, lost int) {
	u.stop()
	u.running.Wait()
	for _, at := range u.sure {
		u.made += len(at)
	}
	return u.made, u.unsure, u.lost
}

// ordeal is a sequence of events for two replicas within some seconds: an outage of the
// database, one of Redis, and during both the end of one replica.
type ordeal struct {
	database, redis, replica string
	lasts                    time.Duration
}

var ordeals = struct{ database, redis, replica []string }{
	[]string{"well", "frozen", "killed"}, []string{"well", "frozen", "killed", "restarted empty"}, []string{"killed", "stopped"},
}

func (o ordeal) run(t *testing.T, u *uses, postgres *parts.Postgres, redis *parts.Redis, s *parts.Service) {
	t.Helper()
	try := func(f func() error) {
		if err := f(); err != nil {
			t.Fatal(err)
		}
	}
	undo := []func(){}
	switch o.database {
	case "frozen":
		try(postgres.Freeze)
		undo = append(undo, func() { try(postgres.Thaw) })
	case "killed":
		try(postgres.Kill)
		undo = append(undo, func() { try(postgres.Start) })
	}
	time.Sleep(o.lasts / 2)
	if redis != nil {
		switch o.redis {
		case "frozen":
			redis.Freeze()
			undo = append(undo, redis.Thaw)
		case "killed":
			redis.Kill()
			undo = append(undo, redis.Restart)
		case "restarted empty":
			redis.Kill()
			redis.Restart()
		}
	}
	time.Sleep(o.lasts / 2)
	if o.replica == "stopped" {
		s.Stop()
	} else {
		u.kill(s)
	}
	for _, f := range undo {
		f()
	}
	s.Restart()
}

// usageUnder runs ordeals one after the other and compares the load's counts with the
// stored ones: never more than was used, and no more is lost than kills may lose.
func usageUnder(t *testing.T, with string, all []ordeal) {
	t.Helper()
	if testing.Short() {
		t.Skip("needs Redis and Postgres")
	}
	postgres := parts.StartPostgres(t)
	var redis *parts.Redis
	cache := "cache: {ttl: {usage_batch: 2s}}"
	if with == "Redis" {
		redis = parts.StartRedis(t)
		cache = fmt.Sprintf("cache: {ttl: {usage_batch: 2s}, redis: {addresses: [%q]}}", redis.Addr())
	}
	var database string
	a, b := twoReplicasOn(t, postgres, func(dsn string) string {
		database = dsn
		return fmt.Sprintf("database: {driver: postgres, dsn: %q}\n%s", dsn, cache)
	})
	db, err := sql.Open("pgx", database)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	var name string
	if err := db.QueryRow("SELECT current_database()").Scan(&name); err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec("ALTER DATABASE " + name + " SET synchronous_commit = on"); err != nil { // so that Postgres itself loses nothing
		t.Fatal(err)
	}
	for _, s := range []*parts.Service{a, b} { // existing connections keep the old setting
		s.Stop()
		s.Restart()
	}
	k := a.NewKey("--scope", "orders:read")
	u := startUses(t, k.Key, a, b)
	time.Sleep(2 * time.Second)
	for i, o := range all {
		t.Logf("database %s, Redis %s, replica %s, %v", o.database, o.redis, o.replica, o.lasts)
		o.run(t, u, postgres, redis, []*parts.Service{a, b}[i%2])
	}
	sure, unsure, lost := u.end()
	a.Stop()
	b.Stop()
	var stored int
	if err := db.QueryRow("SELECT coalesce(sum(count), 0) FROM key_usage WHERE key_id = $1", k.ID).Scan(&stored); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d uses stored; %d answered, %d without an answer, %d may be lost by kills", stored, sure, unsure, lost)
	if stored > sure+unsure {
		t.Errorf("%d uses too many", stored-sure-unsure)
	}
	if stored < sure-lost {
		t.Errorf("%d uses lost, at most %d may be", sure-stored, lost)
	}
}

// TestUsage_OutagesAndKillsLoseTheLastSecondsAtMost tests the statement of
// docs/cache.md#usage.
func TestUsage_OutagesAndKillsLoseTheLastSecondsAtMost(t *testing.T) {
	usageUnder(t, "Redis", []ordeal{
		{"frozen", "restarted empty", "killed", 7 * time.Second},
		{"killed", "killed", "stopped", 2 * time.Second},
	})
}
