package e2e

import (
	"bytes"
	"database/sql"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	_ "github.com/libtnb/sqlite" // the driver that models writes with

	"extauthz/e2e/parts"
)

const (
	creators      = 16 // clients at once
	creationTurns = 5
	creationLasts = 3 * time.Second // a turn of each
)

// BenchmarkCreation measures how many keys 16 clients make through the API, each
// on the disk before its answer, beside how many rows 16 clients commit one by
// one to a table without anything else, by the same driver on the same disk.
// `make bench-creation` prints the two in turn, and the median of their ratios.
func BenchmarkCreation(b *testing.B) {
	b.Run("sqlite", func(b *testing.B) {
		for range b.N {
			file := "file:" + filepath.Join(b.TempDir(), "bare.db")
			bare := openBare(b, "sqlite", file+"?_pragma=busy_timeout(5000)&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)", 1)
			s := parts.StartService(b, "")
			administrator, err := os.ReadFile(filepath.Join(s.DataDir, "admin.key"))
			if err != nil {
				b.Fatal(err)
			}
			compareCreation(b, s, strings.TrimSpace(string(administrator)), bare, "INSERT INTO bare VALUES (?, ?)")
		}
	})
	b.Run("postgres", func(b *testing.B) {
		for range b.N {
			postgres := parts.StartDurablePostgres(b)
			bare := openBare(b, "pgx", postgres.NewDatabase(b), creators)
			replicas, administrator := replicasOn(b, postgres, 1, func(dsn string) string {
				return fmt.Sprintf("database: {driver: postgres, dsn: %q}\n", dsn)
			})
			compareCreation(b, replicas[0], administrator, bare, "INSERT INTO bare VALUES ($1, $2)")
		}
	})
}

func openBare(b *testing.B, driver, dsn string, connections int) *sql.DB {
	b.Helper()
	db, err := sql.Open(driver, dsn)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = db.Close() })
	db.SetMaxOpenConns(connections)
	db.SetMaxIdleConns(connections)
	if _, err := db.Exec("CREATE TABLE bare (id BIGINT PRIMARY KEY, digest TEXT NOT NULL)"); err != nil {
		b.Fatal(err)
	}
	return db
}

func compareCreation(b *testing.B, s *parts.Service, administrator string, bare *sql.DB, insert string) {
	b.Helper()
	digest := strings.Repeat("d", 64)
	var row atomic.Int64
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: creators}}
	ratios := make([]float64, creationTurns)
	for turn := range ratios {
		commits := rate(b, func() error {
			_, err := bare.Exec(insert, row.Add(1), digest)
			return err
		})
		keys := rate(b, func() error { _, err := createKey(client, s, administrator); return err })
		ratios[turn] = keys / commits
		fmt.Printf("  bare %6.0f commits/s  created %6.0f keys/s  ratio %.2f\n", commits, keys, ratios[turn])
	}
	slices.Sort(ratios)
	fmt.Printf("  median %.2f\n", ratios[creationTurns/2])
}

// rate is how often a second do succeeds, from all creators at once.
func rate(b *testing.B, do func() error) float64 {
	b.Helper()
	var done atomic.Int64
	var all sync.WaitGroup
	start := time.Now()
	for range creators {
		all.Go(func() {
			for time.Since(start) < creationLasts {
				if err := do(); err != nil {
					b.Error(err)
					return
				}
				done.Add(1)
			}
		})
	}
	all.Wait()
	return float64(done.Load()) / time.Since(start).Seconds()
}

func createKey(client *http.Client, s *parts.Service, administrator string) (k parts.Key, err error) {
	req, err := http.NewRequest(http.MethodPost, "http://"+s.Admin+"/v1/keys", bytes.NewReader([]byte(`{"user_id": "u", "name": "n", "scopes": ["orders:read"]}`)))
	if err != nil {
		return k, err
	}
	req.Header.Set("Authorization", "Bearer "+administrator)
	req.Header.Set("Content-Type", "application/json")
	res, err := client.Do(req)
	if err != nil {
		return k, err
	}
	defer func() { _ = res.Body.Close() }()
	answer, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusCreated {
		return k, fmt.Errorf("status %d: %w", res.StatusCode, err)
	}
	return k, json.Unmarshal(answer, &k)
}
