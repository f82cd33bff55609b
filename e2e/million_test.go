//go:build full

package e2e

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"

	"extauthz/e2e/parts"
)

const (
	million   = 1_000_000
	zipfKeys  = 100_000
	zipfTries = 300_000
)

// TestAMillionKeys in Postgres tests the start, query plans, pagination to the end,
// memory, and whether the reported hit ratio is the one that clients see.
func TestAMillionKeys(t *testing.T) {
	postgres, redis := parts.StartPostgres(t), parts.StartRedis(t)
	var dsn string
	services, administrator := replicasOn(t, postgres, 1, func(d string) string {
		dsn = d
		return fmt.Sprintf("database: {driver: postgres, dsn: %q}\ndebug_headers: true\ncache: {sealing_key_file: %q, redis: {addresses: [%q]}}", d, sealingKeyFile(t), redis.Addr())
	})
	s := services[0]
	began := time.Now()
	keys := parts.SeedKeys(t, dsn, million)
	t.Logf("%d keys written in %v", len(keys), time.Since(began).Round(time.Second))
	s.Stop()
	began = time.Now()
	s.Restart()
	t.Logf("ready %v after the start, with the 10,000 default keys warm", time.Since(began).Round(10*time.Millisecond))
	eventually(t, func() error {
		_, rest, _ := strings.Cut(state(t, s), `"members":`)
		n := 0
		// The number leaves out keys that the filter already seemed to contain, about one
		// in some thousands.
		if _, err := fmt.Sscan(strings.SplitN(rest, ",", 2)[0], &n); err != nil || n < million*.999 {
			return fmt.Errorf("%d members (%w)", n, errors.Join(err, errors.New("too few")))
		}
		return nil
	})
	t.Logf("knows all prefixes %v after the start", time.Since(began).Round(10*time.Millisecond))
	memory := func() float64 { return counter(t, s, "process_resident_memory_bytes") }
	t.Logf("memory %.0f MiB", memory()/(1<<20))

	db, err := sql.Open("pgx", dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	t.Run("a look-up reads its index", func(t *testing.T) { readsItsIndex(t, s, db, keys[:1000]) })
	t.Run("a list is as fast at its end", func(t *testing.T) { listToTheEnd(t, s, administrator) })
	t.Run("the hit ratio is the clients'", func(t *testing.T) { hitRatio(t, s, keys[:zipfKeys]) })

	before := memory()
	began = time.Now()
	out := s.Must("cache", "warm", "--keys", fmt.Sprint(million))
	t.Logf("warmed in %v: %s", time.Since(began).Round(time.Second), strings.Join(strings.Fields(out), " "))
	n := counter(t, s, "extauthz_cache_entries", `layer="local"`, `namespace="validation"`)
	t.Logf("memory %.0f MiB with %.0f keys in the process: %.0f MiB more", memory()/(1<<20), n, (memory()-before)/(1<<20))
	if n < million*.99 {
		t.Errorf("only %v keys are in the process", n)
	}
	used, err := redis.Info("memory")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(used) {
		if strings.HasPrefix(line, "used_memory_human") {
			t.Log("Redis: " + strings.TrimSpace(line))
		}
	}
	looked := counter(t, s, "extauthz_cache_requests_total", `layer="database"`)
	some := make([]string, 10_000)
	for i := range some {
		some[i] = keys[rand.IntN(len(keys))]
	}
	want(t, checkAll(t, s, some, 8), "granted", len(some))
	if n := counter(t, s, "extauthz_cache_requests_total", `layer="database"`) - looked; n > float64(len(some))/100 {
		t.Errorf("%v of %d checks asked the database with all keys warm", n, len(some))
	}
	s.Stop()
}

// readsItsIndex examines both the plan and the statistics of Postgres.
func readsItsIndex(t *testing.T, s *parts.Service, db *sql.DB, keys []string) {
	rows, err := db.Query("EXPLAIN SELECT * FROM api_keys WHERE key_prefix = 'ak_live_00000000' LIMIT 1")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = rows.Close() }()
	var plan string
	for rows.Next() {
		var line string
		if err := rows.Scan(&line); err != nil {
			t.Fatal(err)
		}
		plan += line + "\n"
	}
	if err := contains(plan, "Index Scan using api_keys_prefix", rows.Err()); err != nil {
		t.Error(err)
	}
	// Postgres' own statistics of the service's queries.
	scans := func() (whole, index int) {
		t.Helper()
		err := db.QueryRow(`SELECT (SELECT seq_scan FROM pg_stat_user_tables WHERE relname = 'api_keys'),
			(SELECT idx_scan FROM pg_stat_user_indexes WHERE indexrelname = 'api_keys_prefix')`).Scan(&whole, &index)
		if err != nil {
			t.Fatal(err)
		}
		return whole, index
	}
	time.Sleep(2 * time.Second) // until Postgres has added the statistics of the start
	whole, index := scans()
	want(t, checkAll(t, s, keys, 8), "granted", len(keys))
	eventually(t, func() error {
		if _, now := scans(); now-index < len(keys) {
			return fmt.Errorf("%d scans of the index for %d look-ups", now-index, len(keys))
		}
		return nil
	})
	if now, _ := scans(); now-whole > 10 { // the periodic count of keys for the metrics is such a scan
		t.Errorf("%d scans of the whole table", now-whole)
	}
}

func listToTheEnd(t *testing.T, s *parts.Service, administrator string) {
	seen := make(map[string]bool, million+1)
	var pages []time.Duration
	for cursor := ""; ; {
		req, err := http.NewRequest(http.MethodGet, "http://"+s.Admin+"/v1/keys?limit=1000&cursor="+cursor, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+administrator)
		start := time.Now()
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(res.Body)
		_ = res.Body.Close()
		if err != nil || res.StatusCode != http.StatusOK {
			t.Fatalf("%d %v", res.StatusCode, err)
		}
		pages = append(pages, time.Since(start))
		var page struct {
			Items []struct {
				ID string `json:"id"`
			} `json:"items"`
			NextCursor string `json:"next_cursor"`
		}
		if err := json.Unmarshal(body, &page); err != nil {
			t.Fatal(err)
		}
		for _, k := range page.Items {
			if seen[k.ID] {
				t.Fatalf("%s comes twice", k.ID)
			}
			seen[k.ID] = true
		}
		if cursor = page.NextCursor; cursor == "" {
			break
		}
	}
	if len(seen) != million+1 {
		t.Errorf("%d keys are listed", len(seen))
	}
	mean := func(d []time.Duration) (sum time.Duration) {
		for _, x := range d {
			sum += x / time.Duration(len(d))
		}
		return sum.Round(100 * time.Microsecond)
	}
	t.Logf("%d pages of 1,000 keys: %v each for the first 50, %v for the last 50", len(pages), mean(pages[:50]), mean(pages[len(pages)-51:len(pages)-1]))
}

// hitRatio compares the service's counts with the answers, which report HIT or MISS in
// x-cache-status.
func hitRatio(t *testing.T, s *parts.Service, keys []string) {
	hits, misses := counter(t, s, "extauthz_cache_requests_total", `layer="local"`, `result="hit"`), counter(t, s, "extauthz_cache_requests_total", `layer="local"`, `result="miss"`)
	client := authv3.NewAuthorizationClient(dial(t, s))
	var mu sync.Mutex
	var workers sync.WaitGroup
	reported := map[string]int{}
	const atOnce = 16
	for w := range uint64(atOnce) {
		workers.Go(func() {
			r := rand.New(rand.NewPCG(w, 1))
			zipf := rand.NewZipf(r, 1.1, 1, uint64(len(keys)-1))
			mine := map[string]int{}
			for range zipfTries / atOnce {
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
				res, err := client.Check(ctx, checkRequest(keys[zipf.Uint64()]))
				cancel()
				status := fmt.Sprint(err)
				if err == nil {
					for _, h := range res.GetOkResponse().GetResponseHeadersToAdd() {
						if h.GetHeader().GetKey() == "x-cache-status" {
							status = h.GetHeader().GetValue()
						}
					}
				}
				mine[status]++
			}
			mu.Lock()
			defer mu.Unlock()
			for status, n := range mine {
				reported[status] += n
			}
		})
	}
	workers.Wait()
	hits, misses = counter(t, s, "extauthz_cache_requests_total", `layer="local"`, `result="hit"`)-hits, counter(t, s, "extauthz_cache_requests_total", `layer="local"`, `result="miss"`)-misses
	// On a busy machine some checks of uncached keys end before the look-up: these were
	// misses too.
	if late := zipfTries - reported["HIT"] - reported["MISS"]; late > zipfTries/1000 || int(hits) != reported["HIT"] || int(misses) != reported["MISS"]+late {
		t.Errorf("counted %v hits and %v misses; the answers reported %v", hits, misses, reported)
	}
	t.Logf("Zipf (s = 1.1) over %d keys, %d checks from a cold cache: %.2f %% hits, as the answers reported", len(keys), zipfTries, 100*hits/(hits+misses))
}
