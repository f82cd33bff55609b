package usage

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"extauthz/authz"
	"extauthz/cachesvc/internal/cachetest"
	"extauthz/cachesvc/store"
)

// second does what Run does in a second.
func second(t *testing.T, s *Recorder) {
	t.Helper()
	s.tick(t.Context(), 1)
	_ = s.deliver(t.Context())
}

// pairOfRecorders runs a test in simulated time, with two processes on one database and
// one shared store.
func pairOfRecorders(t *testing.T, test func(t *testing.T, db *cachetest.Database, c [2]*cachetest.Connection, w [2]*cachetest.Wire, s [2]*Recorder)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		db, r := cachetest.NewDatabase(), cachetest.NewRedis(t, nil)
		var c [2]*cachetest.Connection
		var w [2]*cachetest.Wire
		var s [2]*Recorder
		for i := range s {
			c[i], w[i] = db.Connect(), r.Connect()
			s[i] = runRecorder(t, newRecorder(t, c[i], w[i]))
		}
		synctest.Wait()
		test(t, db, c, w, s)
	})
}

// TestRecorder_CountsABatchInDoubtOnce: the write to Redis, or that to the database,
// takes place or not, but has no answer. Another replica writes the copy in Redis to the
// database before the writer does, after it, or never. Each use is counted once in all
// cases.
func TestRecorder_CountsABatchInDoubtOnce(t *testing.T) {
	for _, redisTook := range []bool{false, true} {
		for _, databaseTook := range []bool{false, true} {
			for _, otherFirst := range []bool{false, true} {
				t.Run(fmt.Sprintf("Redis %v, database %v, other first %v", redisTook, databaseTook, otherFirst), func(t *testing.T) {
					pairOfRecorders(t, func(t *testing.T, db *cachetest.Database, c [2]*cachetest.Connection, w [2]*cachetest.Wire, s [2]*Recorder) {
						c[0].Edit(func(c *cachetest.Connection) {
							c.Sink = func() (error, error) {
								if databaseTook {
									return nil, cachetest.ErrAway
								}
								return cachetest.ErrAway, nil
							}
						})
						s[0].Used("id-k", time.Now())
						time.Sleep(testFlushEvery) // the batch is written to the database, with an unknown outcome
						synctest.Wait()
						if redisTook {
							time.Sleep(2 * tickInterval) // the batch is written to Redis too
						} else {
							w[0].SetCondition(func() (time.Duration, error) { return 0, cachetest.ErrAway })
							time.Sleep(2 * tickInterval)
						}
						synctest.Wait()
						w[0].SetCondition(func() (time.Duration, error) { return 0, cachetest.ErrAway }) // the writer can no longer reach Redis
						if otherFirst {
							time.Sleep(2 * testCollectEvery)
							synctest.Wait()
						}
						c[0].SetAway(false)
						time.Sleep(2 * tickInterval)
						synctest.Wait()
						if got := db.UsageOf("id-k").Count; got != 1 {
							t.Errorf("%d uses with Redis dead; want 1", got)
						}
						w[0].SetCondition(func() (time.Duration, error) { return 0, nil })
						time.Sleep(2 * testCollectEvery)
						synctest.Wait()
						if got, pending := db.UsageOf("id-k").Count, s[0].Pending(); got != 1 || pending != 0 {
							t.Errorf("%d uses with Redis back, %d pending; want 1 and 0", got, pending)
						}
						if keys, err := w[0].Store.Tagged(t.Context(), tag, 10); err != nil || len(keys) != 0 {
							t.Errorf("left in Redis: %v, %v", keys, err)
						}
					})
				})
			}
		}
	}
}

// TestRecorder_ARestoredRedisAddsNothing: a Redis that was restored from a snapshot holds
// batches that the database already has.
func TestRecorder_ARestoredRedisAddsNothing(t *testing.T) {
	for _, late := range []time.Duration{time.Minute, 24 * time.Hour, maxBatchAge - time.Hour, maxBatchAge + time.Hour} {
		t.Run(late.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				db, r := cachetest.NewDatabase(), cachetest.NewRedis(t, nil)
				c, w := db.Connect(), r.Connect()
				s := newRecorder(t, c, w) // the test makes its steps by hand: it would take too long to run for days
				other := newRecorder(t, db.Connect(), r.Connect())
				c.SetAway(true)
				s.Used("id-k", time.Now())
				second(t, s)
				second(t, s)
				keys, err := w.Store.Tagged(t.Context(), tag, 10)
				if err != nil || len(keys) != 1 {
					t.Fatalf("in Redis: %v, %v", keys, err)
				}
				value, _, _ := w.Store.Get(t.Context(), keys[0])
				c.SetAway(false)
				second(t, s)
				time.Sleep(late)
				for _, s := range []*Recorder{s, other} {
					if err := w.Store.Set(t.Context(), store.Item{Key: keys[0], Value: value, TTL: store.Forever, Tags: []string{tag}}); err != nil {
						t.Fatal(err)
					}
					if err := s.Flush(t.Context()); err != nil {
						t.Fatal(err)
					}
					if keys, _ := w.Store.Tagged(t.Context(), tag, 10); len(keys) != 0 {
						t.Errorf("left in Redis: %v", keys)
					}
				}
				if got := db.UsageOf("id-k").Count; got != 1 {
					t.Errorf("%d uses; want 1", got)
				}
			})
		})
	}
}

// TestRecorder_ALongOutageLosesTheLastTicksOfAKilledProcess: a process is killed in each
// of several outages, with Redis and without. Only the uses of its last ticks are lost,
// and memory stays bounded.
func TestRecorder_ALongOutageLosesTheLastTicksOfAKilledProcess(t *testing.T) {
	for _, with := range []string{"Redis", "file"} {
		t.Run(with, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				db, r := cachetest.NewDatabase(), cachetest.NewRedis(t, nil)
				folder := t.TempDir()
				next := func() (*Recorder, *cachetest.Connection) {
					c := db.Connect()
					if with == "Redis" {
						return newRecorder(t, c, r.Connect()), c
					}
					return newRecorder(t, c, nil, spoolIn(folder)), c
				}
				made := uint64(0)
				for range 3 {
					s, c := next()
					c.SetAway(true)
					ticks := 3 * queueLimit
					if with == "file" {
						ticks = 30 // each tick waits for the disk
					}
					for range ticks {
						s.Used("id-k", time.Now())
						made++
						second(t, s)
						time.Sleep(time.Second)
					}
					if n := len(s.queue.batches); n > queueLimit {
						t.Errorf("%d batches in memory", n)
					}
					if s.spool != nil { // the kernel releases the locks of a killed process
						_ = s.spool.file.Close()
					}
				}
				s, _ := next()
				if err := s.Flush(t.Context()); err != nil {
					t.Fatal(err)
				}
				if got := db.UsageOf("id-k").Count; got > made || got < made-3*2 {
					t.Errorf("%d of %d uses, after 3 kills that may lose 2 each", got, made)
				}
			})
		})
	}
}

// TestRecorder_TheLastFlushLosesNothing: usage that the database does not take goes to
// Redis or a file. The error reports usage that could be written nowhere.
func TestRecorder_TheLastFlushLosesNothing(t *testing.T) {
	for _, c := range []struct {
		name                  string
		database, redis, file bool
		lost                  string
	}{
		{"all available", true, true, true, ""},
		{"Redis dead", true, false, false, ""},
		{"database dead", false, true, false, ""},
		{"database and Redis dead", false, false, true, ""},
		{"everything dead", false, false, false, "3 uses of keys are in memory alone"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				db, r := cachetest.NewDatabase(), cachetest.NewRedis(t, nil)
				connection, wire := db.Connect(), r.Connect()
				folder := ""
				if c.file {
					folder = filepath.Join(t.TempDir(), "not", "yet")
				}
				s := newRecorder(t, connection, wire, spoolIn(folder))
				second(t, s) // Redis has been healthy once
				for range 3 {
					s.Used("id-k", time.Now())
				}
				hang := func() (time.Duration, error) { return time.Hour, nil } // Redis is frozen rather than dead
				if !c.redis {
					wire.SetCondition(hang)
				}
				connection.SetAway(!c.database)
				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
				defer cancel()
				began := time.Now()
				err := s.Flush(ctx)
				if took := time.Since(began); took > 5*time.Second {
					t.Errorf("it took %v", took)
				}
				if (err == nil) != (c.lost == "") || err != nil && (!strings.Contains(err.Error(), c.lost) || !errors.Is(err, cachetest.ErrAway)) {
					t.Errorf("Flush: %v", err)
				}
				if s.spool != nil && s.spool.file != nil {
					_ = s.spool.file.Close()
				}
				wire.SetCondition(func() (time.Duration, error) { return 0, nil })
				next := newRecorder(t, db.Connect(), r.Connect(), spoolIn(folder))
				if err := next.Flush(t.Context()); err != nil {
					t.Fatal(err)
				}
				want := uint64(3)
				if c.lost != "" {
					want = 0
				}
				if got := db.UsageOf("id-k").Count; got != want {
					t.Errorf("%d uses after the next start; want %d", got, want)
				}
			})
		})
	}
}

// TestDecodeBatch_RefusesWhatNoReplicaWrites: a client that writes to Redis must not be
// able to stop the counting by a value that the database refuses.
func TestDecodeBatch_RefusesWhatNoReplicaWrites(t *testing.T) {
	now := time.Now().UTC().Format(time.RFC3339)
	for _, usage := range []string{`{"key_id":"a\u0000b","count":1}`, `{"key_id":"","count":1}`, `{"key_id":"k","count":0}`,
		`{"key_id":"k","count":18446744073709551615}`, `{"key_id":"` + strings.Repeat("k", 300) + `","count":1}`, `{"key_id":"k","count":-1}`} {
		for _, source := range []string{`"s","sequence":1`, `"s","sequence":0`, `"s","sequence":18446744073709551615`, `"s\u0000","sequence":1`} {
			if b, err := decodeBatch([]byte(`{"source":`+source+`,"at":"`+now+`","usage":[`+usage+`]}`), time.Now()); err == nil {
				t.Errorf("%s, %s: read as %+v", source, usage, b)
			}
		}
	}
	if b, err := decodeBatch([]byte(`{"source":"s","sequence":1,"at":"`+now+`","usage":[{"key_id":"k","count":2}]}`), time.Now()); err != nil || b.Uses() != 2 {
		t.Errorf("%+v, %v", b, err)
	}
}

// TestSpool_LeavesOutDamagedRecords cuts and damages a file in all its parts.
func TestSpool_LeavesOutDamagedRecords(t *testing.T) {
	dir := t.TempDir()
	now := time.Now()
	s := &spool{dir: dir, source: "a", limit: 1 << 20, log: slog.New(slog.DiscardHandler), now: time.Now, failPoint: func(string) {}}
	var h batchQueue
	h.source = "a"
	const n = 3
	for i := range n {
		h.add([]authz.Usage{{KeyID: fmt.Sprint("k", i), Count: uint64(i + 1), LastUsedAt: now}}, now)
	}
	if kept, err := s.keep(h.exposed()); kept != n || err != nil {
		t.Fatal(kept, err)
	}
	path := s.file.Name()
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.file.Close(); err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(1, 2))
	for at := 0; at < len(whole); at += 1 + r.IntN(3) {
		for _, damaged := range [][]byte{whole[:at], append(append(append([]byte{}, whole[:at]...), whole[at]^byte(1+r.IntN(255))), whole[at+1:]...)} {
			if err := os.WriteFile(path, damaged, 0o600); err != nil {
				t.Fatal(err)
			}
			other := &spool{dir: dir, source: "b", log: s.log, now: time.Now, failPoint: func(string) {}}
			seen := map[uint64]bool{}
			err := other.adopt(func(some []authz.UsageBatch) error {
				for _, b := range some {
					if b.Source != "a" || b.Sequence < 1 || b.Sequence > n || len(b.Usage) != 1 || b.Usage[0].Count != b.Sequence {
						t.Errorf("damaged at %d: read %+v", at, b)
					}
					seen[b.Sequence] = true
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			if len(damaged) == len(whole) && len(seen) < n-2 { // if a newline is damaged, two records are read as one
				t.Errorf("one byte damaged at %d: only %v are read", at, seen)
			}
			if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
				t.Fatalf("the file is still there: %v", err)
			}
		}
	}
}

// TestSpool_KeepsToItsLimitAndToItsOwnFiles: batches that do not fit stay in memory. The
// file of a process that is alive is left alone.
func TestSpool_KeepsToItsLimitAndToItsOwnFiles(t *testing.T) {
	dir := t.TempDir()
	log := slog.New(slog.DiscardHandler)
	s := &spool{dir: dir, source: "a", limit: 1000, log: log, now: time.Now, failPoint: func(string) {}}
	var h batchQueue
	for i := range 20 {
		h.add([]authz.Usage{{KeyID: fmt.Sprint("k", i), Count: 1, LastUsedAt: time.Now()}}, time.Now())
	}
	h.remove(func(b *queuedBatch) bool { b.Source = "a"; return false })
	kept, err := s.keep(h.exposed())
	if kept == 0 || kept == 20 || err == nil || s.size > s.limit {
		t.Fatalf("%d of 20 kept in %d bytes, %v", kept, s.size, err)
	}
	sent := 0
	count := func(some []authz.UsageBatch) error { sent += len(some); return nil }
	if err := (&spool{dir: dir, source: "b", log: log, now: time.Now, failPoint: func(string) {}}).adopt(count); err != nil || sent != 0 {
		t.Errorf("%d batches of a process that is alive were taken, %v", sent, err)
	}
	failing := errors.New("away")
	if err := s.drain(func([]authz.UsageBatch) error { return failing }); !errors.Is(err, failing) || s.uses.Load() != int64(kept) {
		t.Errorf("%v, %d uses kept", err, s.uses.Load())
	}
	if err := s.drain(count); err != nil || sent != kept || s.size != 0 || s.uses.Load() != 0 {
		t.Errorf("%d of %d sent, %v, %d bytes left", sent, kept, err, s.size)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*")); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
}
