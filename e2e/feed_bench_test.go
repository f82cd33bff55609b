package e2e

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"

	"extauthz/authz"
	"extauthz/e2e/parts"
)

const (
	bulkKeys   = 1_000_000
	bulkKnown  = 2_000 // keys that are checked all the time
	bulkEnded  = 50    // the part of them that the statement disables
	bulkRate   = 200   // checks a second on each replica
	bulkWatch  = 15 * time.Second
	feedLease  = time.Second
	heldRows   = 100_000
	idleWindow = 15 * time.Second
)

// BenchmarkFeed measures what routine work on the database does to the service: one
// statement that changes a million keys, a start right after it, and a transaction in
// another database that stays open. `make bench-feed` prints it.
func BenchmarkFeed(b *testing.B) {
	for range b.N {
		postgres, redis := parts.StartPostgres(b), parts.StartRedis(b)
		var dsn string
		replicas, _ := replicasOn(b, postgres, 2, func(d string) string {
			dsn = d
			return fmt.Sprintf("database: {driver: postgres, dsn: %q, listen_dsn: %q}\ncache: {sealing_key_file: %q, redis: {addresses: [%q]}}", d, d, sealingKeyFile(b), redis.Addr())
		})
		keys := parts.SeedKeys(b, dsn, bulkKeys)
		for _, s := range replicas {
			s.Stop()
			s.Restart()
			for range 2 { // checks of keys that are not cached may be late
				checkAll(b, s, keys[:bulkKnown], 2)
			}
		}
		db := open(b, dsn)
		for _, s := range replicas { // the filter of all prefixes is loaded
			awaitMembers(b, s, bulkKeys*999/1000)
		}
		bulkChange(b, db, replicas, keys)
		startAfterBulk(b, db, replicas[1])
		replicas[1].Stop()
		heldBacklog(b, db, postgres, replicas[0])
		replicas[0].Kill()
	}
}

func open(tb testing.TB, dsn string) *sql.DB {
	tb.Helper()
	db, err := sql.Open("pgx", dsn)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = db.Close() })
	return db
}

func awaitMembers(tb testing.TB, s *parts.Service, least int) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), time.Minute)
	defer cancel()
	err := parts.Eventually(ctx, func() error {
		_, rest, _ := strings.Cut(state(tb, s), `"members":`)
		n := 0
		if _, err := fmt.Sscan(strings.SplitN(rest, ",", 2)[0], &n); err != nil || n < least {
			return fmt.Errorf("%d prefixes are known, %w", n, err)
		}
		return nil
	})
	if err != nil {
		tb.Fatal(err)
	}
}

func executeSQL(tb testing.TB, db *sql.DB, statement string, args ...any) {
	tb.Helper()
	if _, err := db.Exec(statement, args...); err != nil {
		tb.Fatal(err)
	}
}

// checked is a check and its answer.
type checked struct {
	began  time.Time
	key    int
	reason string
}

// bulkChange observes two replicas while one statement changes a million keys.
func bulkChange(b *testing.B, db *sql.DB, replicas []*parts.Service, keys []string) {
	ctx, stop := context.WithCancel(b.Context())
	var watching sync.WaitGroup
	answers := make([][]checked, len(replicas))
	states := make([]stateWatch, len(replicas))
	before := make([]float64, len(replicas))
	for i, s := range replicas {
		before[i] = counter(b, s, "process_resident_memory_bytes")
		watching.Go(func() { answers[i] = checkSteadily(ctx, b, s, keys[:bulkKnown]) })
		watching.Go(func() { states[i].watch(ctx, b, s) })
	}
	time.Sleep(2 * time.Second)
	began := time.Now()
	executeSQL(b, db, `UPDATE api_keys SET metadata = '{"backfilled":"yes"}', is_active = key_prefix <> ALL ($1)`, prefixesOf(b, keys[:bulkEnded]))
	committed := time.Now()
	fmt.Printf("one statement changes %d keys in %v; two replicas, %d checks a second on each\n", bulkKeys, committed.Sub(began).Round(100*time.Millisecond), bulkRate)
	time.Sleep(bulkWatch)
	stop()
	watching.Wait()
	for i := range replicas {
		count := map[string]int{}
		for _, c := range answers[i] {
			ended := c.key < bulkEnded
			switch {
			case c.reason == "granted" && ended && c.began.After(committed.Add(feedLease)), c.reason == "key_disabled" && !ended, c.reason == "unknown_key":
				count["wrong"]++
			case c.reason == "granted" || c.reason == "key_disabled":
			case c.began.Before(committed):
				count["before"]++
			case c.began.Before(committed.Add(time.Second)):
				count["first"]++
			default:
				count["later"]++
			}
		}
		fmt.Printf("  replica %d: %d checks, %d wrong; not decided: %d during the statement, %d in the second after it, %d later; serving again after %v; memory %.0f MiB, at most %.2f times that\n",
			i, len(answers[i]), count["wrong"], count["before"], count["first"], count["later"], states[i].since(committed), before[i]/(1<<20), states[i].memory/before[i])
	}
}

func prefixesOf(b *testing.B, keys []string) (prefixes []string) {
	format, err := authz.NewKeyFormat(authz.KeyFormatConfig{})
	if err != nil {
		b.Fatal(err)
	}
	for _, k := range keys {
		parsed, ok := format.Parse(authz.NewSecret(k))
		if !ok {
			b.Fatal("a seeded key can't be parsed")
		}
		prefixes = append(prefixes, parsed.Prefix)
	}
	return prefixes
}

func checkSteadily(ctx context.Context, b *testing.B, s *parts.Service, keys []string) (answers []checked) {
	client := authv3.NewAuthorizationClient(dial(b, s))
	tick := time.NewTicker(time.Second / bulkRate)
	defer tick.Stop()
	var mu sync.Mutex
	var running sync.WaitGroup
	defer running.Wait()
	for i := 0; ; i++ {
		select {
		case <-ctx.Done():
			return answers
		case <-tick.C:
		}
		c := checked{began: time.Now(), key: i * 7 % len(keys)}
		if i%4 == 0 {
			c.key = i / 4 % bulkEnded
		}
		running.Go(func() {
			res, err := client.Check(context.WithoutCancel(ctx), checkRequest(keys[c.key]))
			if c.reason = "error"; err == nil {
				c.reason = reason(res)
			}
			mu.Lock()
			defer mu.Unlock()
			answers = append(answers, c)
		})
	}
}

// stateWatch records when a replica was last seen not serving under its lease, and its
// largest resident memory.
type stateWatch struct {
	last   time.Time
	memory float64
}

func (w *stateWatch) watch(ctx context.Context, b *testing.B, s *parts.Service) {
	for ctx.Err() == nil {
		if !strings.Contains(state(b, s), `"state":"serving"`) {
			w.last = time.Now()
		}
		w.memory = max(w.memory, counter(b, s, "process_resident_memory_bytes"))
		time.Sleep(50 * time.Millisecond)
	}
}

func (w *stateWatch) since(t time.Time) time.Duration {
	return max(w.last.Sub(t), 0).Round(50 * time.Millisecond)
}

func startAfterBulk(b *testing.B, db *sql.DB, s *parts.Service) {
	s.Stop()
	executeSQL(b, db, `UPDATE api_keys SET metadata = '{"backfilled":"again"}'`)
	began := time.Now()
	s.Restart()
	ready := time.Since(began)
	time.Sleep(5 * time.Second)
	var rows int
	if err := db.QueryRow("SELECT count(*) FROM outbox").Scan(&rows); err != nil {
		b.Fatal(err)
	}
	fmt.Printf("a start right after another such statement, %d changes in the outbox: ready after %v, memory %.0f MiB\n",
		rows, ready.Round(10*time.Millisecond), counter(b, s, "process_resident_memory_bytes")/(1<<20))
}

// heldBacklog compares the cost of an idle replica with and without a transaction in
// another database that has been open since before many changes.
func heldBacklog(b *testing.B, db *sql.DB, postgres *parts.Postgres, s *parts.Service) {
	cpu := func() float64 {
		before := counter(b, s, "process_cpu_seconds_total")
		time.Sleep(idleWindow)
		return (counter(b, s, "process_cpu_seconds_total") - before) / idleWindow.Seconds() * 1000
	}
	time.Sleep(10 * time.Second)
	usual := cpu()
	other, err := open(b, postgres.NewDatabase(b)).Begin()
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = other.Rollback() }()
	if _, err := other.Exec("SELECT pg_current_xact_id()"); err != nil {
		b.Fatal(err)
	}
	executeSQL(b, db, `UPDATE api_keys SET metadata = '{}' WHERE id IN (SELECT id FROM api_keys LIMIT $1)`, heldRows)
	time.Sleep(10 * time.Second)
	held := cpu()
	_ = other.Rollback()
	again := cpu()
	fmt.Printf("an idle replica: %.1f ms of CPU a second; with %d changes since a transaction in another database: %.1f ms; after it: %.1f ms\n", usual, heldRows, held, again)
}
