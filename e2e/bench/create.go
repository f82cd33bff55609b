package main

import (
	"context"
	"database/sql"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	_ "github.com/libtnb/sqlite" // the driver of the service's own SQLite

	"extauthz/e2e/parts"
)

// creators is the number of clients that make keys at once.
const creators = 16

var newKey = map[string]any{"user_id": "00000000-0000-4000-8000-000000000000", "name": "reference key of 20b", "scopes": []string{"orders:read", "invoices:read", "reports/eu:read"}}

// create measures how many keys a second can be made through the API, each durable before
// it is acknowledged. It is compared with the bare rate of commits of one row on the same
// disk by the same driver.
func (s *environment) create() {
	s.must(onDisk(os.TempDir()))
	table := newTable(fmt.Sprintf("Creation through the API, %d clients, each key durable", creators),
		"database", "keys a second", "bare commits of one row a second", "ratio")
	s.within(func(r *run) {
		here := s.on(r)
		x := parts.StartService(r, fmt.Sprintf("admin: {bootstrap_key_file: %q}", s.keyFile))
		here.creation(table, "SQLite (WAL, synchronous FULL)", x, here.bareSQLite())
		x.Stop()
	})
	s.within(func(r *run) {
		here := s.on(r)
		postgres := parts.StartDurablePostgres(r)
		x := here.start(&database{dsn: postgres.NewDatabase(r)}, "")
		here.creation(table, "Postgres (fsync, synchronous_commit, full_page_writes)", x, here.barePostgres(postgres.NewDatabase(r)))
		x.Stop()
	})
	s.report(table)
}

// creation alternates between keys and bare commits on one database.
func (s *environment) creation(table *table, name string, x *parts.Service, bare func() error) {
	a := newAPI(s.run, x.Admin, s.administrator)
	through := func() error { return a.call(http.MethodPost, "/v1/keys", newKey, nil) }
	var made, committed, ratios []float64
	for round := range s.rounds + 1 {
		there, here := s.perSecond(through), s.perSecond(bare)
		if round > 0 { // the first turn warms
			made, committed, ratios = append(made, there), append(committed, here), append(ratios, there/here)
		}
	}
	table.add(name, fmt.Sprintf("%.0f", spreadOf(made).median), fmt.Sprintf("%.0f", spreadOf(committed).median), "**"+spreadOf(ratios).String()+"**")
	s.say("%s: %.0f keys a second, %.0f bare commits, ratio %s", name, spreadOf(made).median, spreadOf(committed).median, spreadOf(ratios))
}

// perSecond lets all clients call f for the length of a turn.
func (s *environment) perSecond(f func() error) float64 {
	ctx, cancel := context.WithTimeout(s.ctx, s.turn)
	defer cancel()
	var clients sync.WaitGroup
	var done atomic.Int64
	failures := make(chan error, creators)
	began := time.Now()
	for range creators {
		clients.Go(func() {
			for ctx.Err() == nil {
				if err := f(); err != nil {
					failures <- err
					return
				}
				done.Add(1)
			}
		})
	}
	clients.Wait()
	took := time.Since(began)
	select {
	case err := <-failures:
		s.Fatal(err)
	default:
	}
	s.must(s.ctx.Err())
	return float64(done.Load()) / took.Seconds()
}

// bareSQLite commits one row at a time. All clients share one connection, which is the
// fastest way: SQLite has one writer, and waiting in the pool costs less than its busy
// loop.
func (s *environment) bareSQLite() func() error {
	path := filepath.Join(s.TempDir(), "bare.db")
	return s.bare("sqlite", "file:"+path+"?_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)&_txlock=immediate", 1, "INSERT INTO bare VALUES (?, ?)")
}

// barePostgres commits one row at a time on as many connections as there are
// clients.
func (s *environment) barePostgres(dsn string) func() error {
	return s.bare("pgx", dsn, creators, "INSERT INTO bare VALUES ($1, $2)")
}

// bare makes a table and returns a function that commits a row of a key's size to it.
func (s *environment) bare(driver, dsn string, connections int, insert string) func() error {
	db, err := sql.Open(driver, dsn)
	s.must(err)
	s.Cleanup(func() { _ = db.Close() })
	db.SetMaxOpenConns(connections)
	db.SetMaxIdleConns(connections)
	_, err = db.ExecContext(s.ctx, "CREATE TABLE bare (id TEXT PRIMARY KEY, row TEXT NOT NULL)")
	s.must(err)
	prepared, err := db.PrepareContext(s.ctx, insert)
	s.must(err)
	s.Cleanup(func() { _ = prepared.Close() })
	row := fmt.Sprintf("%0400d", 0) // about the size of a key's row
	return func() error {
		id, err := uuid.NewV7()
		if err != nil {
			return err
		}
		_, err = prepared.Exec(id.String(), row)
		return err
	}
}
