package e2e

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"extauthz/e2e/parts"
)

// load is a steady stream of checks of known keys on two replicas. Whatever fails around
// the replicas, each check has to get the right decision in time, and readiness must not
// change.
type load struct {
	stop    context.CancelFunc
	running sync.WaitGroup

	mu     sync.Mutex
	checks int
	wrong  []string
}

const (
	// checkTime is the time-out of a gateway: the service's own deadline is 150 ms.
	checkTime   = time.Second
	checkPause  = 5 * time.Millisecond
	faultLasts  = 3 * time.Second // longer than the lease, the breaker's pause and the budget of shared look-ups
	recoverTime = 2 * time.Second
)

func startLoad(t *testing.T, live, revoked []string, services ...*parts.Service) *load {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	l := &load{stop: stop}
	for _, s := range services {
		c, err := grpc.NewClient("passthrough:///"+s.GRPC, grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		client := authv3.NewAuthorizationClient(c)
		l.running.Go(func() { l.check(ctx, client, live, "granted") })
		l.running.Go(func() { l.check(ctx, client, revoked, "key_revoked") })
		l.running.Go(func() { l.watch(ctx, s.Ops) })
	}
	t.Cleanup(l.stop)
	time.Sleep(time.Second) // until every replica knows every key: the guarantee is about known keys
	return l
}

func (l *load) check(ctx context.Context, client authv3.AuthorizationClient, keys []string, want string) {
	for i := 0; ctx.Err() == nil; i++ {
		call, cancel := context.WithTimeout(ctx, checkTime)
		start := time.Now()
		res, err := client.Check(call, &authv3.CheckRequest{Attributes: &authv3.AttributeContext{Request: &authv3.AttributeContext_Request{
			Http: &authv3.AttributeContext_HttpRequest{Method: "GET", Host: "h", Path: "/orders", Headers: map[string]string{"x-api-key": keys[i%len(keys)]}}}}})
		cancel()
		if ctx.Err() != nil {
			return
		}
		got := reason(res)
		l.mu.Lock()
		l.checks++
		if err != nil || got != want {
			l.wrong = append(l.wrong, fmt.Sprintf("%s after %v: %q, %v; want %s", start.Format(time.TimeOnly), time.Since(start).Round(time.Millisecond), got, err, want))
		}
		l.mu.Unlock()
		time.Sleep(checkPause)
	}
}

func (l *load) watch(ctx context.Context, ops string) {
	for ctx.Err() == nil {
		res, err := http.Get("http://" + ops + "/readyz")
		if err == nil {
			_ = res.Body.Close()
			if res.StatusCode != http.StatusOK {
				err = fmt.Errorf("status %d", res.StatusCode)
			}
		}
		if err != nil && ctx.Err() == nil {
			l.mu.Lock()
			l.wrong = append(l.wrong, "readiness: "+err.Error())
			l.mu.Unlock()
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// end stops the load and reports what went wrong since it began.
func (l *load) end(t *testing.T) {
	t.Helper()
	l.stop()
	l.running.Wait()
	if l.checks == 0 {
		t.Error("nothing was checked")
	}
	for i, w := range l.wrong {
		if i == 10 {
			t.Errorf("and %d more", len(l.wrong)-i)
			break
		}
		t.Error(w)
	}
	t.Logf("%d checks", l.checks)
}

// sealingKeyFile makes a key for the records in Redis.
func sealingKeyFile(t testing.TB) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "sealing.key")
	if err := os.WriteFile(path, []byte(strings.Repeat("0123456789abcdef", 4)), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// keysOf makes keys that stay valid and keys that are revoked; both replicas know all of
// them.
func keysOf(t *testing.T, a, b *parts.Service) (live, revoked []string) {
	t.Helper()
	for i := range 6 {
		k, _, checkB := knownToBoth(t, a, b)
		if i%2 == 0 {
			live = append(live, k.Key)
			continue
		}
		a.Must("keys", "revoke", k.ID)
		refusedSoon(t, checkB, k.Key)
		revoked = append(revoked, k.Key)
	}
	return live, revoked
}

func state(t testing.TB, s *parts.Service) string {
	t.Helper()
	res, err := http.Get("http://" + s.Ops + "/readyz")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

func saysSoon(t *testing.T, s *parts.Service, text string) {
	t.Helper()
	eventually(t, func() error {
		if got := state(t, s); !strings.Contains(got, text) {
			return fmt.Errorf("/readyz does not say %s: %s", text, got)
		}
		return nil
	})
}

func TestFaults_RedisChangesNoDecision(t *testing.T) {
	if testing.Short() {
		t.Skip("needs Redis and Postgres")
	}
	redis := parts.StartRedis(t, "--maxmemory", "8mb", "--maxmemory-policy", "noeviction")
	a, b := twoReplicas(t, func(dsn string) string {
		return fmt.Sprintf("database: {driver: postgres, dsn: %q, listen_dsn: %q}\ncache: {sealing_key_file: %q, redis: {addresses: [%q]}}",
			dsn, dsn, sealingKeyFile(t), redis.Addr())
	})
	live, revoked := keysOf(t, a, b)
	for _, fault := range []struct {
		name      string
		does, end func()
		state     string // the breaker's state meanwhile
	}{
		{"killed and restarted", redis.Kill, redis.Restart, `"redis":"open"`},
		{"frozen", redis.Freeze, redis.Thaw, `"redis":"open"`},
		{"full", func() { fill(t, redis) }, func() { _, _ = redis.Do("FLUSHALL") }, ""},
	} {
		t.Run(fault.name, func(t *testing.T) {
			k, checkA, checkB := knownToBoth(t, a.On(t), b.On(t))
			l := startLoad(t, live, revoked, a, b)
			fault.does()
			time.Sleep(faultLasts / 2)
			a.Must("keys", "revoke", k.ID)
			if got := checkA("/orders", k.Key); got != "key_revoked" {
				t.Errorf("the replica that revoked: %s", got)
			}
			refusedSoon(t, checkB, k.Key)
			for deadline := time.Now().Add(5 * time.Second); fault.state != "" && !strings.Contains(state(t, b), fault.state); time.Sleep(20 * time.Millisecond) {
				if time.Now().After(deadline) {
					t.Errorf("/readyz never said %s: %s", fault.state, state(t, b))
					break
				}
			}
			time.Sleep(faultLasts / 2)
			fault.end()
			time.Sleep(recoverTime)
			saysSoon(t, b, `"redis":"up"`)
			l.end(t)
		})
	}
	a.Stop()
	b.Stop()
}

// fill writes until Redis refuses to accept more.
func fill(t *testing.T, redis *parts.Redis) {
	t.Helper()
	value := strings.Repeat("x", 30_000)
	for i := range 2000 {
		answer, err := redis.Do("SET", fmt.Sprint("fill:", i), value)
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(answer, "-OOM") {
			return
		}
	}
	t.Error("Redis does not get full")
}

func TestFaults_PostgresChangesNoDecision(t *testing.T) {
	if testing.Short() {
		t.Skip("needs Postgres")
	}
	postgres := parts.StartPostgres(t)
	a, b := twoReplicasOn(t, postgres, func(dsn string) string {
		return fmt.Sprintf("database: {driver: postgres, dsn: %q, listen_dsn: %q}", dsn, dsn)
	})
	live, revoked := keysOf(t, a, b)
	must := func(t *testing.T, f func() error) {
		t.Helper()
		if err := f(); err != nil {
			t.Fatal(err)
		}
	}
	var taken []*sql.DB
	for _, fault := range []struct {
		name      string
		does, end func() error
	}{
		{"killed and restarted", postgres.Kill, postgres.Start},
		{"frozen", postgres.Freeze, postgres.Thaw},
		{"out of connections", func() error { return exhaust(postgres, &taken) }, func() error {
			var errs []error
			for _, db := range taken {
				errs = append(errs, db.Close())
			}
			return errors.Join(errs...)
		}},
	} {
		t.Run(fault.name, func(t *testing.T) {
			l := startLoad(t, live, revoked, a, b)
			must(t, fault.does)
			time.Sleep(faultLasts)
			must(t, fault.end)
			saysSoon(t, a, `"state":"serving"`)
			saysSoon(t, b, `"lease_fresh":true`)
			time.Sleep(recoverTime)
			k, _, checkB := knownToBoth(t, a.On(t), b.On(t))
			a.Must("keys", "revoke", k.ID)
			refusedSoon(t, checkB, k.Key)
			l.end(t)
		})
	}
	a.Stop()
	b.Stop()
}

// exhaust opens all connections that Postgres still accepts.
func exhaust(postgres *parts.Postgres, taken *[]*sql.DB) error {
	for range 200 {
		db, err := sql.Open("pgx", postgres.Superuser())
		if err != nil {
			return err
		}
		*taken = append(*taken, db)
		if db.Ping() != nil {
			return nil
		}
	}
	return errors.New("postgres has connections without end")
}

// TestRedis_HoldsNoSecret records what two replicas send to Redis while keys are made,
// used, rotated, revoked and listed. It searches this for every key, secret and digest.
func TestRedis_HoldsNoSecret(t *testing.T) {
	if testing.Short() {
		t.Skip("needs Redis and Postgres")
	}
	redis := parts.StartRedis(t)
	tap := startTap(t, redis.Addr())
	postgres := parts.StartPostgres(t)
	var database string
	a, b := twoReplicasOn(t, postgres, func(dsn string) string {
		database = dsn
		return fmt.Sprintf("database: {driver: postgres, dsn: %q}\ncache: {ttl: {usage_batch: 1s}, sealing_key_file: %q, redis: {addresses: [%q]}}",
			dsn, sealingKeyFile(t), tap.address)
	})
	live, revoked := keysOf(t, a, b)
	a.Must("keys", "list", "--user", "alice")
	a.Must("cache", "warm")
	l := startLoad(t, live, revoked, a, b)
	time.Sleep(2 * time.Second)
	l.end(t)
	a.Stop()
	b.Stop()
	db, err := sql.Open("pgx", database)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	rows, err := db.Query("SELECT key_prefix, key_hash FROM api_keys")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = rows.Close() }()
	sent := tap.sent()
	forbidden := append(append([]string{}, live...), revoked...)
	for _, key := range forbidden {
		_, secret, _ := strings.Cut(strings.TrimPrefix(key, "ak_live_"), "_")
		forbidden = append(forbidden, secret)
	}
	seen := 0
	for rows.Next() {
		var prefix, hash string
		if err := rows.Scan(&prefix, &hash); err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(sent, []byte("apikey:validation:"+prefix)) {
			seen++
		}
		forbidden = append(forbidden, hash)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	if seen < len(live) {
		t.Errorf("only %d keys were seen in Redis: nothing was tested", seen)
	}
	for _, secret := range forbidden {
		if bytes.Contains(sent, []byte(secret)) {
			t.Errorf("a secret of %d bytes was sent to Redis", len(secret))
		}
	}
	var uses int
	if err := db.QueryRow("SELECT sum(count) FROM key_usage").Scan(&uses); err != nil || uses == 0 {
		t.Errorf("%d uses reached the database through Redis, %v", uses, err)
	}
}

// tap is a proxy that records what clients send.
type tap struct {
	address string
	mu      sync.Mutex
	bytes   bytes.Buffer
}

func (p *tap) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.bytes.Write(b)
}

func (p *tap) sent() []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	return bytes.Clone(p.bytes.Bytes())
}

func startTap(t *testing.T, to string) *tap {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &tap{address: l.Addr().String()}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go p.carry(c, to)
		}
	}()
	return p
}

func (p *tap) carry(c net.Conn, to string) {
	defer func() { _ = c.Close() }()
	server, err := net.Dial("tcp", to)
	if err != nil {
		return
	}
	go func() {
		_, _ = io.Copy(c, server)
		_ = c.Close()
	}()
	_, _ = io.Copy(io.MultiWriter(p, server), c)
	_ = server.Close()
}
