package models

import (
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	mathrand "math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"extauthz/authz"
	"extauthz/e2e/parts"
)

var server *parts.Postgres // nil with -short, and where there is none outside of CI

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(func() int {
		if !testing.Short() {
			p, stop, err := parts.RunPostgres()
			switch {
			case err == nil:
				server = p
				defer func() {
					if err := stop(); err != nil {
						fmt.Fprintln(os.Stderr, err)
					}
				}()
			case os.Getenv("CI") != "":
				fmt.Fprintln(os.Stderr, err)
				return 1
			}
		}
		defer func() { stopSecond() }()
		return m.Run()
	}())
}

// each runs a test on every database, each time on an empty one.
func each(t *testing.T, test func(*testing.T, *DB)) {
	t.Helper()
	t.Run(SQLite, func(t *testing.T) { test(t, migrated(t, sqliteConfig(t))) })
	t.Run(Postgres, func(t *testing.T) { test(t, migrated(t, postgresConfig(t))) })
	t.Run("pgbouncer", func(t *testing.T) { test(t, migrated(t, pooledConfig(t, 3))) })
}

func sqliteConfig(t *testing.T) Config {
	t.Helper()
	return Config{Driver: SQLite, DSN: filepath.Join(t.TempDir(), "test.db")}
}

func postgresConfig(t *testing.T) Config {
	t.Helper()
	if server == nil {
		t.Skip("no Postgres: run scripts/install-parts.sh postgres, and without -short")
	}
	return Config{Driver: Postgres, DSN: server.NewDatabase(t)}
}

func opened(t *testing.T, c Config) *DB {
	t.Helper()
	db, err := Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

func migrated(t *testing.T, c Config) *DB {
	t.Helper()
	db := opened(t, c)
	if err := db.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	return db
}

var testTime = time.Date(2026, 11, 25, 12, 0, 0, 123456000, time.UTC)

func newKey(t *testing.T, edit func(*authz.Record)) authz.NewKey {
	t.Helper()
	f, err := authz.NewKeyFormat(authz.KeyFormatConfig{})
	if err != nil {
		t.Fatal(err)
	}
	peppers, err := authz.NewPeppers(nil)
	if err != nil {
		t.Fatal(err)
	}
	key, prefix, err := f.Generate("live", rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	s, err := authz.ParseScopes([]string{"orders:read"})
	if err != nil {
		t.Fatal(err)
	}
	id := uuid.Must(uuid.NewV7()).String()
	k := authz.NewKey{Verifier: peppers.Verifier(key), Record: authz.Record{ID: id, UserID: "u", Name: "n", Prefix: prefix, Scopes: s,
		Active: true, CreatedAt: testTime, UpdatedAt: testTime, Environment: "live", Family: id}}
	if edit != nil {
		edit(&k.Record)
	}
	return k
}

func insert(t *testing.T, db *DB, keys ...authz.NewKey) []authz.Record {
	t.Helper()
	recs, err := db.Mutate(t.Context(), authz.Selection{}, func([]authz.Record) (authz.Mutation, error) {
		return authz.Mutation{Create: keys}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return recs
}

func TestKeys_RoundTrip(t *testing.T) {
	each(t, func(t *testing.T, db *DB) {
		k := newKey(t, func(r *authz.Record) {
			r.Name, r.ExpiresAt, r.RevokedAt = "Café ☕ \x01", testTime.Add(time.Hour), testTime
			r.AllowedCIDRs = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
			r.Metadata, r.Roles, r.Project = map[string]string{"a": "b"}, []string{"x", "y"}, "p"
			r.Rate, r.RotatedFrom = authz.Rate{Count: 5, Per: time.Second}, "old"
			r.Grants = authz.Grants{Scopes: r.Scopes, Projects: []string{"*"}, Users: []string{"acme-*"}}
			r.ShadowUntil, r.ShadowEnd, r.ShadowScopes = testTime, testTime.Add(time.Hour), r.Scopes
		})
		created := insert(t, db, k)[0]
		if created.Version == 0 {
			t.Fatal("the trigger gave no version")
		}
		got, v, err := db.KeyByPrefix(t.Context(), k.Record.Prefix)
		if err != nil {
			t.Fatal(err)
		}
		k.Record.Version = created.Version
		if !reflect.DeepEqual(got, created) || fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", k.Record) {
			t.Errorf("got  %+v\nwant %+v", got, k.Record)
		}
		want, _ := k.Verifier.Digest.Bytes()
		if b, ok := v.Digest.Bytes(); !ok || b != want || v.Alg != authz.HashSHA256 {
			t.Error("the verifier is another one")
		}
		if _, err := db.KeyByRef(t.Context(), "unknown"); !errors.Is(err, authz.ErrNotFound) {
			t.Errorf("got %v", err)
		}
	})
}

func TestMutate_IsAllOrNothing(t *testing.T) {
	each(t, func(t *testing.T, db *DB) {
		k := newKey(t, nil)
		rec := insert(t, db, k)[0]
		boom := errors.New("boom")
		for name, fn := range map[string]func([]authz.Record) (authz.Mutation, error){
			"fn fails": func([]authz.Record) (authz.Mutation, error) { return authz.Mutation{}, boom },
			"prefix is taken": func(sel []authz.Record) (authz.Mutation, error) {
				sel[0].Name = "changed"
				return authz.Mutation{Create: []authz.NewKey{newKey(t, func(r *authz.Record) { r.Prefix = rec.Prefix })}, Update: sel}, nil
			},
			"role is missing": func(sel []authz.Record) (authz.Mutation, error) {
				sel[0].Name = "changed"
				return authz.Mutation{Update: sel, DeleteRoles: []string{"none"}}, nil
			},
		} {
			if _, err := db.Mutate(t.Context(), authz.Selection{Ref: rec.ID}, fn); err == nil {
				t.Errorf("%s: no error", name)
			}
			if got, err := db.KeyByRef(t.Context(), rec.Prefix); err != nil || !reflect.DeepEqual(got, rec) {
				t.Errorf("%s: something was written: %v, %v", name, got, err)
			}
		}
		if _, err := db.Mutate(t.Context(), authz.Selection{Refs: []string{rec.ID, "none"}}, nil); !errors.Is(err, authz.ErrNotFound) {
			t.Errorf("got %v", err)
		}
	})
}

func TestVersion_RisesOnlyWithDecisionRelevantColumns(t *testing.T) {
	each(t, func(t *testing.T, db *DB) {
		rec := insert(t, db, newKey(t, nil))[0]
		before := presentFeed(t, db)
		if len(before.Changes) != 1 || before.Changes[0].Prefix != rec.Prefix || before.Changes[0].At.IsZero() {
			t.Fatalf("got %+v", before)
		}
		last := rec.Version
		for _, c := range []struct {
			sql     string
			changes []string // prefixes or roles
		}{
			{"UPDATE api_keys SET updated_at = '2026-01-01 00:00:00+00:00'", nil},
			{"UPDATE api_keys SET name = name, scopes = scopes", nil},
			{"UPDATE api_keys SET revoked_at = '2026-01-01 00:00:00+00:00'", []string{rec.Prefix}},
			{"UPDATE api_keys SET user_id = 'other'", []string{rec.Prefix, rec.Prefix}},
			{"UPDATE api_keys SET key_prefix = 'ak_live_new'", []string{rec.Prefix, "ak_live_new"}},
			{"INSERT INTO roles (name, created_at, updated_at) VALUES ('r', '2026-01-01 00:00:00+00:00', '2026-01-01 00:00:00+00:00')", []string{"r"}},
			{"UPDATE roles SET scopes = '[]'", nil},
			{"UPDATE roles SET scopes = '[{\"resource\":\"a\",\"actions\":[\"b\"]}]'", []string{"r"}},
			{"DELETE FROM roles", []string{"r"}},
			{"DELETE FROM api_keys", []string{"ak_live_new"}},
		} {
			if err := db.gorm.Exec(c.sql).Error; err != nil {
				t.Fatalf("%s: %v", c.sql, err)
			}
			page := presentFeed(t, db)
			got := map[string]int{}
			for _, ch := range page.Changes {
				if ch.Version > last {
					got[ch.Prefix+ch.Role]++
				}
			}
			want := map[string]int{}
			for _, p := range c.changes {
				want[p]++
			}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("%s: got %v, want %v", c.sql, got, want)
			}
			for _, ch := range page.Changes {
				last = max(last, ch.Version)
			}
		}
	})
}

func TestVersion_SetByHandIsOverridden(t *testing.T) {
	each(t, func(t *testing.T, db *DB) {
		rec := insert(t, db, newKey(t, nil))[0]
		if err := db.gorm.Exec("UPDATE api_keys SET version = 1000000").Error; err != nil {
			t.Fatal(err)
		}
		got, err := db.KeyByRef(t.Context(), rec.ID)
		if err != nil || got.Version >= 1000000 {
			t.Errorf("got %d, %v", got.Version, err)
		}
	})
}

func TestUsage_IsAddedAndChangesNoVersion(t *testing.T) {
	each(t, func(t *testing.T, db *DB) {
		rec := insert(t, db, newKey(t, nil))[0]
		usage := []authz.Usage{{KeyID: rec.ID, Count: 3, LastUsedAt: testTime}}
		for i := range 10_000 {
			usage = append(usage, authz.Usage{KeyID: fmt.Sprint(i), Count: 1, LastUsedAt: testTime})
		}
		for sequence := range uint64(2) {
			if _, err := db.AddUsage(t.Context(), []authz.UsageBatch{{Source: "a", Sequence: sequence + 1, Usage: usage}}); err != nil {
				t.Fatal(err)
			}
		}
		late := authz.UsageBatch{Source: "b", Sequence: 7, Usage: []authz.Usage{{KeyID: rec.ID, Count: 1, LastUsedAt: testTime.Add(-time.Hour)}}}
		if _, err := db.AddUsage(t.Context(), []authz.UsageBatch{late}); err != nil {
			t.Fatal(err)
		}
		got, err := db.Usage(t.Context(), []string{rec.ID, "never"})
		if err != nil || len(got) != 1 || got[0].Count != 7 || !got[0].LastUsedAt.Equal(testTime) {
			t.Errorf("got %+v, %v", got, err)
		}
		if page := presentFeed(t, db); len(page.Changes) != 1 {
			t.Errorf("usage reached the feed: %d changes", len(page.Changes))
		}
	})
}

func TestUsage_BatchIsAddedOnce(t *testing.T) {
	each(t, func(t *testing.T, db *DB) {
		batch := func(source string, sequence, count uint64) authz.UsageBatch {
			return authz.UsageBatch{Source: source, Sequence: sequence, Usage: []authz.Usage{{KeyID: "k", Count: count, LastUsedAt: testTime}}}
		}
		first := []authz.UsageBatch{batch("a", 1, 1), batch("b", 1, 10), batch("a", 2, 100), batch("a", 2, 100)}
		var writers sync.WaitGroup
		var counted atomic.Uint64
		for range 4 { // replicas that take up the same batches
			writers.Go(func() {
				added, err := db.AddUsage(t.Context(), first)
				if err != nil {
					t.Error(err)
				}
				counted.Add(added)
			})
		}
		writers.Wait()
		if counted.Load() != 111 {
			t.Errorf("%d uses are reported as added", counted.Load())
		}
		if _, err := db.AddUsage(t.Context(), []authz.UsageBatch{batch("a", 2, 100), batch("a", 3, 1000), batch("b", 1, 10)}); err != nil {
			t.Fatal(err)
		}
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := db.AddUsage(ended, []authz.UsageBatch{batch("a", 4, 5)}); err == nil {
			t.Error("written under an ended context")
		}
		got, err := db.Usage(t.Context(), []string{"k"})
		if err != nil || len(got) != 1 || got[0].Count != 1111 {
			t.Errorf("got %+v, %v; want 1111", got, err)
		}
	})
}

// TestAddUsage_AddsEachBatchOnceInAnyOrder: writers that bring the batches of some
// sources in random orders, sizes and repetitions, at the same time.
func TestAddUsage_AddsEachBatchOnceInAnyOrder(t *testing.T) {
	each(t, func(t *testing.T, db *DB) {
		const sources, each, writers = 3, 30, 4
		var all []authz.UsageBatch
		for s := range sources {
			for n := range each {
				all = append(all, authz.UsageBatch{Source: fmt.Sprint("s", s), Sequence: uint64(n + 1),
					Usage: []authz.Usage{{KeyID: fmt.Sprint("k", n%5), Count: 1, LastUsedAt: testTime}}})
			}
		}
		var running sync.WaitGroup
		var counted atomic.Uint64
		for w := range writers {
			running.Go(func() {
				r := mathrand.New(mathrand.NewPCG(uint64(w), 7))
				mine := slices.Clone(all)
				r.Shuffle(len(mine), func(i, j int) { mine[i], mine[j] = mine[j], mine[i] })
				for some := range slices.Chunk(mine, 1+r.IntN(9)) {
					added, err := db.AddUsage(t.Context(), some)
					if err != nil {
						t.Error(err)
					}
					counted.Add(added)
				}
			})
		}
		running.Wait()
		got, err := db.Usage(t.Context(), []string{"k0", "k1", "k2", "k3", "k4"})
		var sum uint64
		for _, u := range got {
			sum += u.Count
		}
		if err != nil || sum != sources*each || counted.Load() != sources*each {
			t.Errorf("%d uses stored, %d reported, %v; want %d", sum, counted.Load(), err, sources*each)
		}
		var marks []usageMark
		if err := db.gorm.Find(&marks).Error; err != nil || len(marks) != sources {
			t.Fatalf("%+v, %v", marks, err)
		}
		for _, m := range marks {
			if m.Sequence != each || m.Beyond != "" {
				t.Errorf("a source without a gap has the mark %+v", m)
			}
		}
	})
}

func TestMostUsedKeys_ComeFirst(t *testing.T) {
	each(t, func(t *testing.T, db *DB) {
		dead := newKey(t, func(r *authz.Record) { r.Active = false })
		records := insert(t, db, newKey(t, nil), newKey(t, nil), newKey(t, nil), dead)
		b := authz.UsageBatch{Source: "a", Sequence: 1}
		for i, n := range []uint64{5, 50, 0, 500} {
			if n > 0 {
				b.Usage = append(b.Usage, authz.Usage{KeyID: records[i].ID, Count: n, LastUsedAt: testTime})
			}
		}
		if _, err := db.AddUsage(t.Context(), []authz.UsageBatch{b}); err != nil {
			t.Fatal(err)
		}
		for limit, want := range map[int][]string{
			1: {records[1].ID}, 2: {records[1].ID, records[0].ID}, 10: {records[1].ID, records[0].ID, records[2].ID},
		} {
			var got []string
			err := db.MostUsed(t.Context(), limit, func(r authz.Record, v authz.Verifier) error {
				if v.Alg == "" {
					t.Error("no verifier")
				}
				got = append(got, r.ID)
				return nil
			})
			if err != nil || !slices.Equal(got, want) {
				t.Errorf("limit %d: got %v, %v; want %v", limit, got, err, want)
			}
		}
	})
}

func TestMostUsedKeys_UnusedComeOnceNewestFirst(t *testing.T) {
	each(t, func(t *testing.T, db *DB) {
		keys := make([]authz.NewKey, warmAtOnce+3)
		for i := range keys {
			keys[i] = newKey(t, nil)
		}
		insert(t, db, keys...)
		for _, limit := range []int{warmAtOnce, warmAtOnce + 1, 10 * warmAtOnce} {
			var got []string
			if err := db.MostUsed(t.Context(), limit, func(r authz.Record, _ authz.Verifier) error { got = append(got, r.ID); return nil }); err != nil {
				t.Fatal(err)
			}
			if len(got) != min(limit, len(keys)) || !slices.IsSortedFunc(got, func(a, b string) int { return strings.Compare(b, a) }) || len(slices.Compact(slices.Clone(got))) != len(got) {
				t.Errorf("limit %d: %d keys, or not each once and newest first", limit, len(got))
			}
		}
	})
}

func TestIdempotency_CreatesOnce(t *testing.T) {
	each(t, func(t *testing.T, db *DB) {
		create := func(fingerprint string) (string, error) {
			k := newKey(t, nil)
			_, err := db.Mutate(context.WithoutCancel(t.Context()), authz.Selection{}, func([]authz.Record) (authz.Mutation, error) {
				return authz.Mutation{Create: []authz.NewKey{k}, Idempotency: &authz.Idempotency{Principal: "p", Key: "k",
					Fingerprint: []byte(fingerprint), KeyID: k.Record.ID, At: testTime}}, nil
			})
			return k.Record.ID, err
		}
		errs := make(chan error, 8)
		for range cap(errs) {
			go func() { _, err := create("same"); errs <- err }()
		}
		created := 0
		for range cap(errs) {
			err := <-errs
			var replay *authz.IdempotencyError
			switch {
			case err == nil:
				created++
			case !errors.As(err, &replay) || replay.KeyID == "":
				t.Errorf("got %v", err)
			}
		}
		if created != 1 {
			t.Errorf("%d were created", created)
		}
		if _, err := create("another"); !errors.Is(err, authz.ErrIdempotencyReuse) {
			t.Errorf("got %v", err)
		}
	})
}
