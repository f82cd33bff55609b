package models

import (
	"context"
	"fmt"
	mathrand "math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"extauthz/authz"
)

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
		for range 4 { // several replicas write the same batches
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

// TestAddUsage_AddsEachBatchOnceInAnyOrder: concurrent writers add the batches of some
// sources in random orders, sizes and repetitions.
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
