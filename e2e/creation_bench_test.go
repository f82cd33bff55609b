package e2e

import (
	"database/sql"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	_ "github.com/libtnb/sqlite" // the driver that the service writes by

	"extauthz/e2e/parts"
)

const (
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
			bare := openBare(b, "sqlite", "file:"+filepath.Join(b.TempDir(), "bare.db")+"?_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)", 1)
			s := parts.StartService(b, "")
			compareCreation(b, s, localAdministrator(b, s), bare, "INSERT INTO bare VALUES (?, ?)")
		}
	})
	b.Run("postgres", func(b *testing.B) {
		for range b.N {
			postgres := parts.StartDurablePostgres(b)
			bare := openBare(b, "pgx", postgres.NewDatabase(b), creators)
			replicas, administrator := replicasOn(b, postgres, 1, onPostgres)
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
	commit := func() error {
		_, err := bare.Exec(insert, row.Add(1), digest)
		return err
	}
	commits, creations := make([]func() error, creators), make([]func() error, creators)
	for i := range creators {
		c := newCreator(b, s, administrator)
		commits[i] = commit
		creations[i] = func() error { _, err := c.create(); return err }
	}
	ratios := make([]float64, creationTurns)
	for turn := range ratios {
		bare, created := together(b, commits), together(b, creations)
		ratios[turn] = created / bare
		fmt.Printf("  bare %6.0f commits/s  created %6.0f keys/s  ratio %.2f\n", bare, created, ratios[turn])
	}
	slices.Sort(ratios)
	fmt.Printf("  median %.2f\n", ratios[creationTurns/2])
}

// together is how often a second the clients succeed, all at once.
func together(b *testing.B, clients []func() error) float64 {
	b.Helper()
	var done atomic.Int64
	var all sync.WaitGroup
	start := time.Now()
	for _, do := range clients {
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
