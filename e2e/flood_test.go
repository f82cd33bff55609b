package e2e

import (
	"bufio"
	"context"
	"crypto/rand"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"extauthz/authz"
	"extauthz/e2e/parts"
)

// counter returns the sum of a service's metric over all series that have each of these
// labels, such as layer="redis".
func counter(tb testing.TB, s *parts.Service, name string, labels ...string) (sum float64) {
	tb.Helper()
	res, err := http.Get("http://" + s.Ops + "/metrics")
	if err != nil {
		tb.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	lines := bufio.NewScanner(res.Body)
series:
	for lines.Scan() {
		series, value, _ := strings.Cut(lines.Text(), " ")
		if series != name && !strings.HasPrefix(series, name+"{") {
			continue
		}
		for _, l := range labels {
			if !strings.Contains(series, l) {
				continue series
			}
		}
		n, err := strconv.ParseFloat(value, 64)
		if err != nil {
			tb.Fatal(err)
		}
		sum += n
	}
	if err := lines.Err(); err != nil {
		tb.Fatal(err)
	}
	return sum
}

// guarded starts a service on Postgres and a sealed Redis, with a number of seeded keys
// that it has not cached.
func guarded(tb testing.TB, keys int) (s *parts.Service, seeded []string) {
	tb.Helper()
	if testing.Short() {
		tb.Skip("needs Redis and Postgres")
	}
	redis := parts.StartRedis(tb)
	dsn := parts.StartPostgres(tb).NewDatabase(tb)
	s = parts.StartService(tb, fmt.Sprintf("database: {driver: postgres, dsn: %q}\ncache: {sealing_key_file: %q, redis: {addresses: [%q]}, warm: {keys: 0}}",
		dsn, sealingKeyFile(tb), redis.Addr()))
	seeded = parts.SeedKeys(tb, dsn, keys)
	s.Stop()
	s.Restart()
	return s, seeded
}

// forgedKeys returns keys of valid form and with a valid checksum that are not stored.
func forgedKeys(tb testing.TB, n int) []string {
	tb.Helper()
	format, err := authz.NewKeyFormat(authz.KeyFormatConfig{})
	if err != nil {
		tb.Fatal(err)
	}
	keys := make([]string, n)
	for i := range keys {
		key, _, err := format.Generate("live", rand.Reader)
		if err != nil {
			tb.Fatal(err)
		}
		keys[i] = key.Reveal()
	}
	return keys
}

// checkAll checks each key once, atOnce keys at a time, and counts the answers by reason;
// an error counts as one.
func checkAll(tb testing.TB, s *parts.Service, keys []string, atOnce int) map[string]int {
	tb.Helper()
	c, err := grpc.NewClient("passthrough:///"+s.GRPC, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		tb.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	client := authv3.NewAuthorizationClient(c)
	var mu sync.Mutex
	var workers sync.WaitGroup
	reasons := map[string]int{}
	for w := range atOnce {
		workers.Go(func() {
			for i := w; i < len(keys); i += atOnce {
				ctx, cancel := context.WithTimeout(tb.Context(), 10*time.Second)
				res, err := client.Check(ctx, &authv3.CheckRequest{Attributes: &authv3.AttributeContext{Request: &authv3.AttributeContext_Request{
					Http: &authv3.AttributeContext_HttpRequest{Method: "GET", Host: "h", Path: "/orders", Headers: map[string]string{"x-api-key": keys[i]}}}}})
				cancel()
				got := reason(res)
				if err != nil {
					got = err.Error()
				}
				mu.Lock()
				reasons[got]++
				mu.Unlock()
			}
		})
	}
	workers.Wait()
	return reasons
}

func want(tb testing.TB, got map[string]int, reason string, n int) {
	tb.Helper()
	if len(got) != 1 || got[reason] != n {
		tb.Errorf("got %v, want %d times %s", got, n, reason)
	}
}

// TestLookup_BurstOnAColdKeyIsOneQuery: one in Redis and one in Postgres.
func TestLookup_BurstOnAColdKeyIsOneQuery(t *testing.T) {
	s, seeded := guarded(t, 1)
	redis, database := counter(t, s, "extauthz_cache_requests_total", `layer="redis"`), counter(t, s, "extauthz_cache_requests_total", `layer="database"`)
	burst := make([]string, 1000)
	for i := range burst {
		burst[i] = seeded[0]
	}
	want(t, checkAll(t, s, burst, len(burst)), "granted", len(burst))
	if n := counter(t, s, "extauthz_cache_requests_total", `layer="redis"`) - redis; n != 1 {
		t.Errorf("%v look-ups in Redis", n)
	}
	if n := counter(t, s, "extauthz_cache_requests_total", `layer="database"`) - database; n != 1 {
		t.Errorf("%v look-ups in the database", n)
	}
	s.Stop()
}

func TestFlood_MalformedKeysCauseNoIO(t *testing.T) {
	s, _ := guarded(t, 1)
	calls := func() float64 { return counter(t, s, "extauthz_store_duration_seconds_count", `op="get"`) }
	lookups := func() float64 { return counter(t, s, "extauthz_cache_requests_total") }
	before, looked := calls(), lookups()
	bad := forgedKeys(t, 5000)
	for i, key := range bad {
		switch last := len(key) - 1; i % 4 {
		case 0: // the checksum is wrong
			c := byte('a')
			if key[last] == c {
				c = 'b'
			}
			bad[i] = key[:last] + string(c)
		case 1:
			bad[i] = key[:last]
		case 2:
			bad[i] = "sk" + key
		case 3:
			bad[i] = strings.Repeat(key, 20)
		}
	}
	want(t, checkAll(t, s, bad, 16), "malformed_key", len(bad))
	if n := calls() - before; n != 0 {
		t.Errorf("%v calls to the stores", n)
	}
	if n := lookups() - looked; n != 0 {
		t.Errorf("%v look-ups in the cache", n)
	}
	s.Stop()
}

// TestFlood_ForgedKeysDoNotSlowRealOnes sends as many forgeries as the machine can. `make
// bench-flood` measures how fast uncached keys are meanwhile.
func TestFlood_ForgedKeysDoNotSlowRealOnes(t *testing.T) {
	const known, cold = 20, 300
	s, seeded := guarded(t, known+cold)
	want(t, checkAll(t, s, seeded[:known], 4), "granted", known)
	found := counter(t, s, "extauthz_cache_requests_total", `layer="database"`, `result="hit"`)
	memory := counter(t, s, "go_memstats_sys_bytes") // resident memory would include the race detector's, which is several times as much

	began := time.Now()
	forged := forgedKeys(t, 20_000)
	var flood sync.WaitGroup
	var refused map[string]int
	flood.Go(func() { refused = checkAll(t, s, forged, 32) })
	flooding := make(chan struct{})
	go func() { flood.Wait(); close(flooding) }()
	rounds := 0
	for over := false; !over; rounds++ {
		select {
		case <-flooding:
			over = true
		default:
		}
		want(t, checkAll(t, s, seeded[:known], 2), "granted", known)
		if rounds == 0 {
			// None is denied. On a busy machine a look-up may be too late.
			got := checkAll(t, s, seeded[known:], 2)
			if got["granted"]+got[undecided] != cold || got[undecided] > cold/100 {
				t.Errorf("cold keys: got %v, want %d times granted", got, cold)
			}
		}
	}
	took := time.Since(began)

	// Beyond the budget they wait for the feed, which may be late on a busy machine.
	if refused["unknown_key"]+refused["throttled"]+refused[undecided] != len(forged) || refused["unknown_key"] < len(forged)/2 {
		t.Errorf("got %v", refused)
	}
	if n := counter(t, s, "extauthz_cache_requests_total", `layer="database"`, `result="hit"`) - found; n != cold {
		t.Errorf("%v look-ups found a key, want one for each of the %d that were cold: the flood pushed known ones out", n, cold)
	}
	// 200 a second, a burst of 200, and the forgeries that the filter mistakes for keys.
	most := 200*took.Seconds() + 200 + float64(len(forged))/500
	if n := counter(t, s, "extauthz_cache_requests_total", `layer="database"`, `result="miss"`); n > most {
		t.Errorf("%v look-ups for forged keys in %v, want at most %.0f", n, took, most)
	}
	if n := counter(t, s, "extauthz_cache_entries", `namespace="unknown"`); n > 100_000 {
		t.Errorf("%v unknown keys are kept", n)
	}
	if grown := counter(t, s, "go_memstats_sys_bytes") - memory; grown > 128<<20 {
		t.Errorf("%.0f MiB more memory", grown/(1<<20))
	}
	t.Logf("%d forged keys in %v, %d rounds of known keys, %.0f MiB more", len(forged), took.Round(time.Millisecond), rounds, (counter(t, s, "go_memstats_sys_bytes")-memory)/(1<<20))
	s.Stop()
}

// undecided is the error of a check that no store answered in time, as on a busy machine.
const undecided = "rpc error: code = Unavailable desc = no decision could be made: a store does not answer"

// TestFlood_AKeyThatAnotherReplicaMadeIsNeverUnknown: one replica gets forgeries at a
// rate beyond the budget while keys are made on another one. The flooded replica may
// throttle the first check of a new key, but never refuses it as unknown.
func TestFlood_AKeyThatAnotherReplicaMadeIsNeverUnknown(t *testing.T) {
	a, b := twoReplicas(t, func(dsn string) string { return fmt.Sprintf("database: {driver: postgres, dsn: %q}", dsn) })
	before := counter(t, b, "extauthz_cache_requests_total", `result="hit_unknown"`)
	stop := make(chan struct{})
	var flood sync.WaitGroup
	flood.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				checkAll(t, b, forgedKeys(t, 500), 48)
			}
		}
	})
	reasons := map[string]int{}
	for range 10 {
		k := a.NewKey("--scope", "orders:read")
		eventually(t, func() error {
			for got, n := range checkAll(t, b, []string{k.Key}, 1) {
				if reasons[got] += n; got != "granted" {
					return fmt.Errorf("got %s", got)
				}
			}
			return nil
		})
	}
	close(stop)
	flood.Wait()
	known := counter(t, b, "extauthz_cache_requests_total", `result="hit_unknown"`) - before
	t.Logf("checks of new keys: %v; %.0f forgeries were refused without a look-up", reasons, known)
	if known == 0 {
		t.Error("the flood stayed within the budget")
	}
	for got, n := range reasons {
		if got != "granted" && got != "throttled" && got != undecided {
			t.Errorf("%d checks of keys that exist: %s", n, got)
		}
	}
	a.Stop()
	b.Stop()
}
